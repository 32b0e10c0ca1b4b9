package backup_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
)

// small mounts a file system of so many bytes, as far as this process may.
func small(t *testing.T, bytes string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+bytes); errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		t.Skip("only root may mount a file system")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// leftOver are the entries of the folder of the backups.
func (f *fixture) leftOver(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(f.Spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == ".lock" })
}

// A volume may fill while a dump is written, since others write to it as well.
func TestAVolumeThatFillsDuringADump(t *testing.T) {
	f := newFixture(t)
	f.Spec.Dir = filepath.Join(small(t, "16M"), "backups")
	f.create(t, "good")
	f.exec(t, "CREATE TABLE public.big AS SELECT n, md5(n::text) || md5((n + 1)::text) AS text "+
		"FROM generate_series(1, 60000) n")
	filler := filepath.Join(filepath.Dir(f.Spec.Dir), "filler")
	spoiled := *f
	// The volume fills once there is known to be room.
	spoiled.Bin = spoiling(t, "true")
	script := filepath.Join(spoiled.Bin, "pg_dump")
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	const begin = "#!/bin/sh\n"
	fill := fmt.Sprintf("case $* in *--file=*) dd if=/dev/zero of=%[1]s bs=64k 2>/dev/null; "+
		"truncate -s -200000 %[1]s;; esac\n", filler)
	filling := strings.Replace(string(text), begin, begin+fill, 1)
	if err := os.WriteFile(script, []byte(filling), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = spoiled.Create(t.Context(), "second", "", "")
	wantFailure(t, err, hook.Refused, "the volume of PVC nap-backups is full", "No space left on device",
		"the incomplete backup was removed", "raise global.backup.size", "[backup.space]")
	if diff := cmp.Diff([]string{"good"}, f.leftOver(t)); diff != "" {
		t.Errorf("what is left in the folder:\n%s", diff)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Check(t.Context(), "good", false); err != nil {
		t.Errorf("the backup from before: %v", err)
	}
	f.create(t, "third")
}

// Other writers than pg_dump meet a full volume too.
func TestAVolumeThatIsFullForAFSsDatabase(t *testing.T) {
	f := newFixture(t)
	f.sqlite(t, "CREATE TABLE big (text)", "INSERT INTO big SELECT hex(randomblob(1000)) FROM (WITH RECURSIVE n(i) AS "+
		"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i FROM n)")
	f.Spec.Dir = filepath.Join(small(t, "16M"), "backups")
	f.Spec.Size = "1Gi"
	wide := *f
	wide.Spec.AFS = ""
	wide.create(t, "good")
	filled := *f
	// What is asked for room says that there is enough: the file system is filled after that.
	filler := filepath.Join(filepath.Dir(f.Spec.Dir), "filler")
	filled.Bin = spoiling(t, "dd if=/dev/zero of="+filler+" bs=64k 2>/dev/null || true")
	_, err := filled.Create(t.Context(), "second", "", "")
	if err == nil {
		t.Fatal("there was room")
	}
	wantFailure(t, err, hook.Refused, "[backup.space]")
	if diff := cmp.Diff([]string{"good"}, f.leftOver(t)); diff != "" {
		t.Errorf("what is left in the folder:\n%s", diff)
	}
}
