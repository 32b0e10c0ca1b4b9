package restorenote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}"

func noteOf(data string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nap-restore, namespace: nap}\ndata: "+
		"{restore.json: '%s'}", data)
}

// Whatever would start the services is refused with every way out that there is.
func TestUnfinishedNamesTheWaysOut(t *testing.T) {
	for name, one := range map[string]struct{ data, want string }{
		"checked": {`{"backup": "b1", "replicas": {}, "phase": "preparing", "started": "2026-11-23T14:15:00Z"}`,
			"the restore of backup b1 (started 2026-11-23T14:15:00Z) has not ended: the databases are untouched so far, but " +
				"they would be " +
				"replaced under running services; wait if it is still running; else finish it with helm neutree backup restore " +
				"b1 --namespace nap, " +
				"or give it up with helm neutree backup restore --abandon --namespace nap [backup.unfinished-restore]"},
		"killed": {`{"backup": "b1", "safety": "s1", "replicas": {}, "phase": "restoring"}`,
			"the restore of backup b1 has not ended: the databases may be half restored, and what the services write now " +
				"would be lost or " +
				"mixed with the backup; wait if it is still running; else finish it with helm neutree backup restore b1 " +
				"--namespace nap, or " +
				"restore another backup in its place with helm neutree backup restore s1 --namespace nap --abandon " +
				"[backup.unfinished-restore]"},
		"of version 0.1.0": {`{"backup": "b1", "replicas": {"nap-cp": 2}}`,
			"the restore of backup b1 has not ended: the databases may be half restored, and what the services write now " +
				"would be lost or " +
				"mixed with the backup; wait if it is still running; else finish it with helm neutree backup restore b1 " +
				"--namespace nap, or " +
				"restore another backup in its place with helm neutree backup restore NAME --namespace nap --abandon " +
				"[backup.unfinished-restore]"},
		"restored": {`{"backup": "b1", "replicas": {}, "phase": "restored"}`,
			"the databases are restored, but its services are not all started; wait if it is still running; else finish it " +
				"with " +
				"helm neutree backup restore b1 --namespace nap [backup.unfinished-restore]"},
		"a rotation": {`{"backup": "", "rotation": "credential-key", "replicas": {}, "phase": "stopping"}`,
			"the rotation of credential-key has not ended: services that start before its end may read another key than the " +
				"one that credentials are encrypted with; wait if it is still running; else finish it with helm neutree " +
				"secrets rotate credential-key --namespace nap [secrets.unfinished-rotation]"},
		"unreadable": {`{}`, "ConfigMap nap-restore in namespace nap should say how far a restore is, and is not readable"},
	} {
		t.Run(name, func(t *testing.T) {
			c := kubetest.New(t, namespace, noteOf(one.data)).Client()
			findings, err := Unfinished(t.Context(), c, "nap", "nap-restore")
			if err != nil || len(findings) != 1 {
				t.Fatalf("%v, %v", findings, err)
			}
			if got := findings[0].Sentence() + " [" + string(findings[0].ID) + "]"; !strings.Contains(got, one.want) {
				t.Errorf("it says\n%s\nnot\n%s", got, one.want)
			}
		})
	}
}

func TestUnfinishedIsSilentWithoutANote(t *testing.T) {
	server := kubetest.New(t, namespace)
	for _, name := range []string{"nap-restore", ""} {
		if findings, err := Unfinished(t.Context(), server.Client(), "nap", name); len(findings) > 0 || err != nil {
			t.Errorf("%q: %v, %v", name, findings, err)
		}
	}
	server.Refuse(-1, "GET", "/api/v1/namespaces/nap/configmaps/*", kubetest.Status(500,
		metav1.StatusReasonInternalError, "no quorum"))
	if _, err := Unfinished(t.Context(), server.Client(), "nap", "nap-restore"); err == nil ||
		!strings.Contains(err.Error(), "no quorum") {
		t.Errorf("a note that can't be read is taken for none: %v", err)
	}
}

// The Job of a schedule has no rights: it finds the note in a volume.
func TestReadMounted(t *testing.T) {
	dir := t.TempDir()
	if note, err := ReadMounted(dir, "nap", "nap-restore"); note != nil || err != nil {
		t.Errorf("without a note: %+v, %v", note, err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, Key), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"backup": "b1", "replicas": {}, "phase": "stopping"}`)
	note, err := ReadMounted(dir, "nap", "nap-restore")
	if err != nil || note == nil || note.Backup != "b1" || note.Phase != Stopping {
		t.Fatalf("%+v, %v", note, err)
	}
	want := "the restore of backup b1 has not ended: a backup of what is there now may hold half of two states; "
	if got := note.NoBackup("nap", "nap-restore").Sentence(); !strings.HasPrefix(got, want) {
		t.Errorf("it says\n%s\nnot\n%s", got, want)
	}
	write("{")
	if _, err := ReadMounted(dir, "nap", "nap-restore"); err == nil ||
		!strings.Contains(err.Error(), "ConfigMap nap-restore in namespace nap should say how far a restore is") {
		t.Errorf("an unreadable note: %v", err)
	}
}
