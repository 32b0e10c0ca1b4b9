package backup_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

func TestScheduledBackupsAreAKindOfTheirOwn(t *testing.T) {
	f := newFixture(t)
	f.Spec.Retention = 1
	f.create(t, "mine")
	first, err := f.CreateScheduled(t.Context(), "nap-scheduled-backup-1")
	if err != nil {
		t.Fatal(err)
	}
	if first.Kind != backup.Scheduled || !strings.HasPrefix(first.Name, "scheduled-20") || first.Reason != "on schedule" {
		t.Errorf("%+v", first)
	}
	again, err := f.CreateScheduled(t.Context(), "nap-scheduled-backup-1")
	if err != nil || again.Name != first.Name {
		t.Errorf("another pod of the same Job makes another backup: %s, %v", again.Name, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// Backups are named after the second in which they begin.
		if "scheduled-"+backup.NewName(time.Now()) != first.Name {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the clock does not advance")
		}
	}
	second, err := f.CreateScheduled(t.Context(), "nap-scheduled-backup-2")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{second.Name, "mine"}, f.names(t)); diff != "" {
		t.Errorf("the retention of one kind concerns another, or not its own:\n%s", diff)
	}
}

func TestAScheduledBackupDuringARestore(t *testing.T) {
	f := newFixture(t)
	f.Note = t.TempDir()
	f.Spec.Namespace, f.Spec.RestoreNote = "nap", "nap-restore"
	note := filepath.Join(f.Note, restorenote.Key)
	for text, code := range map[string]hook.Code{
		`{"backup": "b1", "replicas": {}, "phase": "restoring"}`: hook.Busy, `{}`: hook.Refused,
	} {
		if err := os.WriteFile(note, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := f.CreateScheduled(t.Context(), "job")
		wantFailure(t, err, code, "[backup.unfinished-restore]")
		if code == hook.Busy {
			wantFailure(t, err, code, "the restore of backup b1 has not ended: a backup of what is there now may hold half "+
				"of two states", "finish it with helm neutree backup restore b1 --namespace nap")
		}
	}
	if names := f.names(t); len(names) > 0 {
		t.Errorf("refused, but there is %v", names)
	}
	if err := os.Remove(note); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CreateScheduled(t.Context(), "job"); err != nil {
		t.Errorf("the volume is there without a note: %v", err)
	}
}

// slowly is a folder of programs that behave until pg_dump has written its file, and then take their time.
func slowly(t *testing.T) string {
	t.Helper()
	return spoiling(t, "sleep 60 & trap 'kill $!; exit 1' TERM; wait")
}

func TestAnUpgradeCutsAScheduledBackupOff(t *testing.T) {
	f := newFixture(t)
	slow := *f
	slow.Bin = slowly(t)
	first := &migrate.Precedence{Log: slog.New(slog.DiscardHandler), URL: f.DatabaseURL}
	t.Cleanup(func() { first.End(context.Background()) })
	took := make(chan error, 1)
	go func() {
		for {
			if left, _ := filepath.Glob(filepath.Join(f.Spec.Dir, ".partial-scheduled-*", "database.dump")); len(left) > 0 {
				break
			}
			select {
			case <-t.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
		took <- first.Take(t.Context())
	}()
	_, err := slow.CreateScheduled(t.Context(), "job")
	wantFailure(t, err, hook.Busy, "the backup gives way to an upgrade, which is at work on the database: pid ",
		"[backup.busy]")
	if err := <-took; err != nil {
		t.Fatal(err)
	}
	// The upgrade's own backup finds the volume free.
	f.create(t, "before-r2-1")
	if diff := cmp.Diff([]string{"before-r2-1"}, f.leftOver(t)); diff != "" {
		t.Errorf("what is left in the folder:\n%s", diff)
	}
	first.End(t.Context())
	if _, err := f.CreateScheduled(t.Context(), "job"); err != nil {
		t.Errorf("the next pod of the Job, after the upgrade: %v", err)
	}
}

func TestAScheduledBackupFindsTheVolumeInUse(t *testing.T) {
	f := newFixture(t)
	slow := *f
	slow.Bin = slowly(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = slow.Create(ctx, "mine", "", "")
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(f.Spec.Dir, ".partial-mine", "database.dump")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first run did not begin")
		}
	}
	_, err := f.CreateScheduled(t.Context(), "job")
	wantFailure(t, err, hook.Busy, "another run (backup create mine in pod ", "is using PVC nap-backups", "[backup.busy]")
	cancel()
	<-ended
}
