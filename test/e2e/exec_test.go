//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// exec runs a command in a container and returns what it printed.
func (r *release) exec(t testing.TB, pod, container, stdin string, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request := r.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(r.namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdin: stdin != "", Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(r.config, "GET", request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	options := remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}
	if stdin != "" {
		options.Stdin = strings.NewReader(stdin)
	}
	if err := executor.StreamWithContext(ctx, options); err != nil {
		t.Fatalf("%s in pod %s: %v\n%s", command, pod, err, stderr.String())
	}
	return stdout.String()
}

// sql runs statements as the database's administrator, and returns the rows of the last.
func (r *release) sql(t testing.TB, statements string) string {
	t.Helper()
	return strings.TrimSpace(r.exec(t, "nap-pg-1", "postgres", statements, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--dbname=nap", "--file=-"))
}

// tables is the whole database as pg_dump writes it, but for the row of its owner, which a restore writes again with
// another time, and for the rows that the services write by themselves: signs of
// life and the queue of jobs. Rows of other tables can be left out too. The rows of a table are sorted: one that a restore
// records again, as it was, moves to the end of its table.
func (r *release) tables(t testing.TB, without ...string) string {
	t.Helper()
	command := []string{"pg_dump", "--dbname=nap"}
	for _, table := range append(without, "public.environments", "pgboss.*", "neutree.owner") {
		command = append(command, "--exclude-table-data="+table)
	}
	out := r.exec(t, "nap-pg-1", "postgres", "", command...)
	var kept []string
	first := 0 // row of a table
	for line := range strings.Lines(out) {
		switch {
		// pg_dump writes a random key into these two lines.
		case strings.HasPrefix(line, `\restrict`), strings.HasPrefix(line, `\unrestrict`):
			continue
		case strings.HasPrefix(line, "COPY "):
			first = len(kept) + 1
		case line == "\\.\n":
			slices.Sort(kept[first:])
		}
		kept = append(kept, line)
	}
	if len(kept) < 100 {
		t.Fatalf("pg_dump printed %d lines:\n%s", len(kept), out)
	}
	return strings.Join(kept, "")
}

// afsRows are the rows of the AFS controller's database.
func (r *release) afsRows(t testing.TB, statements ...string) string {
	t.Helper()
	pod := r.podOf(t, "afs-controller")
	return r.exec(t, pod, "afs-controller", "", append([]string{"afs", "sql", "/var/lib/afs/controller.db"}, statements...)...)
}

// podOf is the one pod of an app.
func (r *release) podOf(t testing.TB, app string) string {
	t.Helper()
	var name string
	eventually(t, time.Minute, "pod of "+app+" is ready", func(ctx context.Context) (bool, string) {
		list := r.pods(ctx, "app="+app)
		if len(list) != 1 {
			return false, fmt.Sprintf("%d pods", len(list))
		}
		name = list[0].Name
		return podReady(&list[0]), "it is not ready"
	})
	return name
}
