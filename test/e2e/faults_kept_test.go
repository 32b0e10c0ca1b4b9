//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
)

// possessions are what no fault may take from a release.
type possessions struct {
	secrets, claims map[string]string
	backups         map[string]backup.Metadata
}

func (f *faults) possessions(t *testing.T) possessions {
	t.Helper()
	return possessions{secrets: f.secretData(t), claims: f.claims(t), backups: f.wholeBackups(t)}
}

// wantKept asserts that all of it is still there. Of the backups the retention may have removed some.
func (f *faults) wantKept(t *testing.T, before possessions) {
	t.Helper()
	after := f.possessions(t)
	if diff := cmp.Diff(before.secrets, after.secrets); diff != "" {
		t.Errorf("Secrets before and after:\n%s", redact(diff))
	}
	for name, volume := range before.claims {
		if after.claims[name] != volume {
			t.Errorf("PVC %s was bound to volume %s, and is bound to %q", name, volume, after.claims[name])
		}
	}
	left := map[backup.Kind]int{}
	for _, m := range after.backups {
		left[m.Kind]++
	}
	for name, m := range before.backups {
		now, there := after.backups[name]
		switch {
		case !there && left[m.Kind] < f.retention:
			t.Errorf("backup %s is gone, and of its kind (%s) %d are left, though %d are kept",
				name, m.Kind, left[m.Kind], f.retention)
		case there && cmp.Diff(m.Files, now.Files) != "":
			t.Errorf("backup %s changed:\n%s", name, cmp.Diff(m.Files, now.Files))
		}
	}
}

// wholeBackups are the backups that there are. It asserts that each is whole: what counts as a backup and is none would
// be missed only by the one who needs it.
func (f *faults) wholeBackups(t *testing.T) map[string]backup.Metadata {
	t.Helper()
	inFolder := func(command string) string {
		return f.exec(t, f.backups, "toolbox", "", "sh", "-c", "cd /backups/"+f.name+" && "+command)
	}
	found := map[string]backup.Metadata{}
	decoder := json.NewDecoder(strings.NewReader(inFolder("cat */backup.json")))
	for {
		var m backup.Metadata
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read the descriptions of the backups: %v", err)
		}
		found[m.Name] = m
	}
	sums := map[string]string{}
	for line := range strings.Lines(inFolder("sha256sum */*")) {
		sum, path, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[path] = sum
		if folder, _, _ := strings.Cut(path, "/"); found[folder].Name == "" {
			t.Errorf("folder %s counts as a backup and has no description", folder)
		}
	}
	for name, m := range found {
		for file, want := range m.Files {
			if got := sums[name+"/"+file]; got != want.SHA256 {
				t.Errorf("backup %s: file %s has the checksum %q, want %s", name, file, got, want.SHA256)
			}
		}
		if len(m.Files) == 0 {
			t.Errorf("backup %s has no files", name)
		}
	}
	return found
}
