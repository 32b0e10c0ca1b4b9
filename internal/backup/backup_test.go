package backup_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
)

func TestCreateDescribesWhatItSaved(t *testing.T) {
	f := newFixture(t)
	m := f.create(t, "first")
	if m.Head() != "127_skill_content_storage" || m.Set != "5e7" || m.Tables < 20 || m.DatabaseBytes < 1<<20 {
		t.Errorf("%+v", m)
	}
	if m.Release != "neutree" || m.Revision != 3 || m.Chart != "0.1.0" || m.Images["controlPlane"] == "" || m.Reason != "by hand" {
		t.Errorf("%+v", m)
	}
	read, err := f.Read("first")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, read); diff != "" {
		t.Errorf("the description on the disk differs:\n%s", diff)
	}
	entries, err := os.ReadDir(f.Spec.Dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("beside the lock and the backup there is something else: %v %v", entries, err)
	}
	again, err := f.Create(t.Context(), "first", "", "")
	if err != nil || !again.Time.Equal(m.Time) {
		t.Errorf("a pod that runs once more makes it anew: %v %v", again, err)
	}
}

func TestRetention(t *testing.T) {
	f := newFixture(t)
	f.Spec.Retention = 2
	for _, name := range []string{"b1", "b2", "b3"} {
		f.create(t, name)
	}
	if diff := cmp.Diff([]string{"b3", "b2"}, f.names(t)); diff != "" {
		t.Error(diff)
	}
	if _, err := f.Create(t.Context(), "b4", "before a restore", "b2"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b4", "b3", "b2"}, f.names(t)); diff != "" {
		t.Errorf("the backup that is about to be restored is gone: %s", diff)
	}
	if _, err := f.Create(t.Context(), "b5", "before a restore that starts over", "b3", "b2"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b5", "b4", "b3", "b2"}, f.names(t)); diff != "" {
		t.Errorf("a backup that the restore made before is gone: %s", diff)
	}
	if err := f.Delete(t.Context(), "b3"); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, f.Delete(t.Context(), "b3"), hook.Refused, "there is no backup b3 in claim nap-backups")
	wantFailure(t, f.Delete(t.Context(), "../b2"), hook.Usage, "no name of a backup")
}

func TestCreateRefuses(t *testing.T) {
	f := newFixture(t)
	t.Run("a claim that is too small", func(t *testing.T) {
		small := *f
		small.Spec.Size = "2Mi"
		_, err := small.Create(t.Context(), "b", "", "")
		wantFailure(t, err, hook.Refused, "the database holds", "of the 2.0 MiB of claim nap-backups only 2.0 MiB are free", "raise global.backup.size")
	})
	t.Run("programs of another version", func(t *testing.T) {
		other := *f
		other.Bin = t.TempDir()
		script := "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n"
		if err := os.WriteFile(filepath.Join(other.Bin, "pg_dump"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := other.Create(t.Context(), "b", "", "")
		wantFailure(t, err, hook.Refused, "the image holds PostgreSQL 9's programs, and the server is PostgreSQL", "set global.backup.image")
	})
	t.Run("an image without programs", func(t *testing.T) {
		none := *f
		none.Bin = t.TempDir()
		_, err := none.Create(t.Context(), "b", "", "")
		wantFailure(t, err, hook.Refused, "the image has no pg_dump", "global.backup.image")
	})
	t.Run("a damaged database of AFS's", func(t *testing.T) {
		damaged := *f
		damaged.Spec.AFS = filepath.Join(t.TempDir(), "controller.db")
		if err := os.WriteFile(damaged.Spec.AFS, []byte("not a database, but long enough to be looked at by SQLite as if it were one, with a header of a hundred bytes"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := damaged.Create(t.Context(), "b", "", "")
		wantFailure(t, err, hook.Unexpected, "AFS's database", "not a database")
	})
	if names := f.names(t); len(names) != 0 {
		t.Errorf("refused, but there is %v", names)
	}
}

// Once there is a backup, its share of the database tells how much the next one takes.
func TestRoomForTheNextIsJudgedByTheLast(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	f.Spec.Size = "2Mi"
	f.create(t, "b2")
}

func TestSecondRunRefused(t *testing.T) {
	f := newFixture(t)
	f.exec(t, "CREATE TABLE big AS SELECT n, md5(n::text) FROM generate_series(1, 300000) n")
	first := make(chan error, 1)
	go func() {
		_, err := f.Create(t.Context(), "b1", "", "")
		first <- err
	}()
	second := *f
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(f.Spec.Dir, ".partial-b1")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first run did not begin")
		}
	}
	_, err := second.Create(t.Context(), "b2", "", "")
	wantFailure(t, err, hook.Busy, "another run (backup create b1 in pod ", ", since 20", ") is using PVC nap-backups")
	select {
	case err := <-first:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the first run does not end")
	}
}

func TestListSkipsWhatIsNoBackup(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	for _, dir := range []string{"lost+found", ".partial-b2"} {
		if err := os.Mkdir(filepath.Join(f.Spec.Dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"b1"}, f.names(t)); diff != "" {
		t.Error(diff)
	}
	f.create(t, "b3")
	if _, err := os.Stat(filepath.Join(f.Spec.Dir, ".partial-b2")); err == nil {
		t.Error("what a killed run left is still there")
	}
	if err := os.WriteFile(filepath.Join(f.Spec.Dir, "b1", "backup.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, damaged, err := f.List()
	if err != nil || len(list) != 1 || len(damaged) != 1 {
		t.Errorf("%v %v %v", list, damaged, err)
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 9 << 20: "9.0 MiB", 5 << 30: "5.0 GiB", 3 << 50: "3072.0 TiB"} {
		if got := backup.Size(bytes); got != want {
			t.Errorf("Size(%d) = %s, want %s", bytes, got, want)
		}
	}
}

// A termination message has 4 KiB: the newest are listed, and how many there are besides.
func TestListingFitsItsMessage(t *testing.T) {
	var list []backup.Metadata
	for i := range 60 {
		list = append(list, backup.Metadata{Name: fmt.Sprintf("20261123-1415%02d", i), Reason: "before the upgrade to revision 12", Chart: "0.1.0"})
	}
	for _, n := range []int{0, 14, 60} {
		message, err := backup.Message(list[:n], nil)
		if err != nil || len(message) > 4000 {
			t.Fatal(len(message), err)
		}
		var listing backup.Listing
		if err := json.Unmarshal([]byte(message), &listing); err != nil {
			t.Fatal(err)
		}
		if len(listing.Backups)+listing.More != n || n <= 14 && listing.More > 0 {
			t.Errorf("of %d, %d are listed and %d counted", n, len(listing.Backups), listing.More)
		}
	}
}
