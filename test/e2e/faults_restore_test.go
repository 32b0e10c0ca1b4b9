//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/restorenote"
)

// restoreTime is what a restore takes when nothing disturbs it, from the backup of what is there until services start.
const restoreTime = 20 * time.Second

// restoreJob replaces the databases.
const restoreJob = "nap-restore"

// restoreKilled kills the client of a restore, the pod of its Job, or both, at any moment. Then next happens, and after
// the restore was run again everything is as in the backup.
func restoreKilled(next func(*testing.T, *faults)) func(*testing.T, *faults) ending {
	return func(t *testing.T, f *faults) ending {
		f.toBase(t)
		name := strings.TrimSpace(f.plugin(t, 0, "", "backup", "create", "--reason", "of a fault test").stdout)
		tables, dirs, scales := f.lasting(t), f.afsRows(t), f.scales(t)
		f.sql(t, "SET ROLE nap;"+lateDamage)
		f.afsRows(t, "INSERT INTO dirs VALUES ('beef', 'shared', '/lost')")

		f.killRestore(t, name)
		next(t, f)
		got := f.plugin(t, 0, "", "backup", "restore", name, "--yes")
		t.Logf("restored after %s:\n%s", got.took, got.stderr)
		if note := f.note(t); note != nil {
			t.Errorf("the restore has ended, and its note is still there: %+v", note)
		}
		if f.controlPlane(t) != f.image {
			// The upgrade went through, so the restored database was migrated for its services.
			forgetNewer(t, f.database, f.base)
		}
		if diff := cmp.Diff(tables, f.lasting(t)); diff != "" {
			t.Errorf("tables in the backup and after the restore:\n%s", diff)
		}
		if diff := cmp.Diff(dirs, f.afsRows(t)); diff != "" {
			t.Errorf("AFS's rows in the backup and after the restore:\n%s", diff)
		}
		if diff := cmp.Diff(scales, f.scales(t)); diff != "" {
			t.Errorf("replicas before and after the restore:\n%s", diff)
		}
		f.wantServes(t)
		return asBefore
	}
}

// lasting is the whole database, but for what a restore changes of workspaces that run: it has them get new tokens.
func (f *faults) lasting(t *testing.T) string {
	t.Helper()
	return f.tables(t, "public.workspace_tokens", "public.workspace_placements")
}

// killRestore starts a restore and kills something of it.
func (f *faults) killRestore(t *testing.T, name string) {
	t.Helper()
	client := f.pluginCommand(t, "backup", "restore", name, "--yes")
	var output bytes.Buffer
	client.Stdout, client.Stderr = &output, &output
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	// A client that is not killed, since something else failed before, ends with the test.
	t.Cleanup(func() { _ = client.Process.Kill() })
	done := make(chan error, 1)
	go func() { done <- client.Wait() }()
	f.pause(t, restoreTime)
	// Of three times the client is killed in two, and the pod in two.
	choice := f.rand.IntN(3)
	if choice != 0 {
		pods := f.jobPods(t.Context(), restoreJob)
		for _, pod := range pods {
			f.kill(t, pod)
		}
		if len(pods) == 0 {
			t.Log("the Job that restores has no pod now")
			choice = 2
		}
	}
	if choice != 1 {
		if err := client.Process.Kill(); err != nil {
			t.Logf("the client had just ended: %v", err)
		} else {
			t.Log("killed the client")
		}
	}
	select {
	case err := <-done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		t.Logf("the client ended: %v\n%s", err, &output)
	case <-time.After(5 * time.Minute):
		t.Fatalf("the client of the restore has not ended:\n%s", &output)
	}
}

// note is what an unfinished restore has left, nil for none.
func (f *faults) note(t *testing.T) *restorenote.Note {
	t.Helper()
	list, err := f.client.CoreV1().ConfigMaps(f.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range list.Items {
		if text := config.Data[restorenote.Key]; text != "" {
			note := &restorenote.Note{}
			if err := json.Unmarshal([]byte(text), note); err != nil {
				t.Fatalf("read the note of a restore: %v\n%s", err, text)
			}
			return note
		}
	}
	return nil
}

func thenNothing(*testing.T, *faults) {}

// thenUpgrade upgrades: while the restore has not ended that is refused, with what ends it.
func thenUpgrade(t *testing.T, f *faults) {
	note := f.note(t)
	pods := f.podIdentities(t)
	got := f.upgrade(t.Context(), toTen...)
	if note == nil {
		if got.err != nil {
			t.Errorf("no restore is unfinished, and the upgrade failed: %v\n%s", got.err, got.output)
		}
		return
	}
	if got.err == nil && f.note(t) == nil {
		t.Log("the restore had ended when the upgrade looked")
		return
	}
	wantRefused(t, got, time.Minute, "helm neutree backup restore "+note.Backup+" --namespace "+f.namespace)
	if note.Phase == restorenote.Restored {
		// The restore has started its services.
		return
	}
	for name := range f.podIdentities(t) {
		if _, there := pods[name]; !there {
			t.Errorf("the refused upgrade started pod %s", name)
		}
	}
}

// thenReinstall uninstalls the release and installs it again. Where the databases may be half restored, the uninstall
// says what to do after the next install.
func thenReinstall(t *testing.T, f *faults) {
	note := f.note(t)
	got := f.mustUninstall(t)
	if note != nil && note.Phase == restorenote.Restoring &&
		!containsAll(got.output, "a restore did not end", note.Backup, "restore it again") {
		t.Errorf("helm uninstall does not say that backup %s has to be restored again:\n%s", note.Backup, got.output)
	}
	eventually(t, 2*time.Minute, "no Job that restores is left", func(ctx context.Context) (bool, string) {
		pods := f.jobPods(ctx, restoreJob)
		return len(pods) == 0, "it has a pod"
	})
	f.mustUpgrade(t, "--wait", "--reset-values")
}
