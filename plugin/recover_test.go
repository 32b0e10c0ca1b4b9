package main_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// storedRevision is a record as Helm keeps it in a Secret.
func storedRevision(t *testing.T, number int, status string) string {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := fmt.Fprintf(z, `{"name":"neutree","namespace":"nap","version":%d,"info":{"status":%q}}`, number, status); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
type: helm.sh/release.v1
metadata:
  name: sh.helm.release.v1.neutree.v%[1]d
  namespace: nap
  creationTimestamp: "2026-01-02T03:04:05Z"
  labels: {owner: helm, name: neutree, version: "%[1]d", status: %[2]s}
  managedFields: [{manager: Helm, operation: Update, time: "2026-01-02T03:04:05Z"}]
data: {release: %[3]q}
`, number, status, encode([]byte(encode(packed.Bytes()))))
}

func TestRecover(t *testing.T) {
	const (
		job = `apiVersion: batch/v1
kind: Job
metadata:
  name: nap-prepare
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, app.kubernetes.io/component: prepare}
status: {active: 1}
`
		explained = "(2026-01-02T03:04:05Z), and nobody has ended it."
		pending   = "Release neutree in namespace nap is pending-upgrade: revision 2 was begun by Helm and last written "
		ended     = "No hook of it runs any more. The revision will be marked failed; nothing else is changed."
		asked     = "If a helm command still runs somewhere, stop it first. Mark the revision failed? [y/N] "
		next      = "Revision 2 is marked failed.\nNow run the helm upgrade again"
		back      = "helm rollback neutree 1 --namespace nap --wait"
	)
	binary := filepath.Join(install(t), "bin", "helm-neutree")
	halfWay := []string{napNamespace, storedRevision(t, 1, "deployed"), storedRevision(t, 2, "pending-upgrade")}
	for name, tc := range map[string]struct {
		objects []string
		refuse  func(*kubetest.Server)
		args    []string
		input   string
		want    []string
		exit    int
		fixed   bool
	}{
		"nothing to fix": {
			objects: []string{napNamespace, storedRevision(t, 1, "deployed")},
			want:    []string{"Release neutree in namespace nap is deployed, revision 1: there is nothing to fix."},
		},
		"no such release": {
			objects: []string{napNamespace}, exit: 1,
			want: []string{"there is no release neutree in namespace nap: helm list --all --all-namespaces shows those there are"},
		},
		"a hook still runs": {
			objects: append([]string{job}, halfWay...), args: []string{"--yes"}, exit: 2,
			want: []string{pending, explained, "Still running: Job nap-prepare.",
				"Error: the release is being worked on: Job nap-prepare is still running: wait until it has ended, or stop it " +
					"with helm neutree recover neutree --namespace nap --stop"},
		},
		"a hook that still runs is stopped": {
			objects: append([]string{job}, halfWay...), args: []string{"--stop"}, input: "y\n", fixed: true,
			want: []string{pending, explained, "Still running: Job nap-prepare.",
				"Stop its hooks and mark the revision failed? [y/N] ", next},
		},
		"confirmed": {
			objects: halfWay, input: "y\n", want: []string{pending, explained, ended, asked, next, back}, fixed: true,
		},
		"with --yes nothing is asked": {
			objects: halfWay, args: []string{"--yes"}, want: []string{pending, ended + "\n" + next, back}, fixed: true,
		},
		"not confirmed": {objects: halfWay, input: "n\n", want: []string{pending, asked + "Nothing was changed."}, exit: 2},
		"nobody to ask": {objects: halfWay, want: []string{asked + "Nothing was changed."}, exit: 2},
		"somebody else was quicker": {
			objects: halfWay, args: []string{"-y"}, exit: 1, want: []string{"mark revision 2 failed: the object has been modified"},
			refuse: func(s *kubetest.Server) {
				s.Refuse(1, "PATCH", "/api/v1/namespaces/nap/secrets/*", kubetest.Status(409, metav1.StatusReasonConflict, "the object has been modified"))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := kubetest.New(t, tc.objects...)
			if tc.refuse != nil {
				tc.refuse(server)
			}
			cmd := exec.CommandContext(t.Context(), binary, append([]string{"recover", "neutree", "-n", "nap"}, tc.args...)...)
			cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfigOf(t, server.Config().Host))
			cmd.Stdin = strings.NewReader(tc.input)
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var failed *exec.ExitError
			if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tc.exit {
				t.Errorf("exit code %d, want %d", got, tc.exit)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, stderr.String())
				}
			}
			if stdout.Len() > 0 {
				t.Errorf("on stdout: %s", stdout.String())
			}
			if fixed := len(server.Changes()) > 0 && tc.refuse == nil; fixed != tc.fixed {
				t.Errorf("something was changed: %t, want %t", fixed, tc.fixed)
			}
			record := server.Object("/api/v1/namespaces/nap/secrets/sh.helm.release.v1.neutree.v2")
			if tc.fixed && record.GetLabels()["status"] != "failed" {
				t.Errorf("labels of the record: %v", record.GetLabels())
			}
		})
	}
}
