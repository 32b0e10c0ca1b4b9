package migrate_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// attempt tries to apply a set to which a file belongs, and wants it to fail if the file does.
func attempt(t *testing.T, url string, broken hook.Migration) {
	t.Helper()
	m, _ := migrator(url)
	_, err := m.Apply(t.Context(), testSet, []hook.Migration{broken})
	wantFailure(t, err, hook.MigrationFailed, "117_broken.sql")
}

// outcome waits for a set as the seeds do, by a session that cannot write.
func outcome(ctx context.Context, url, set string, log *slog.Logger, patience time.Duration) error {
	return migrate.WaitForOutcome(ctx, log, url+"&options=-c%20default_transaction_read_only%3Don", set, patience)
}

func TestWaitEndsWithTheCauseOfTheFailure(t *testing.T) {
	url := pgtest.Start(t)
	broken := folder(t, "control-plane", files{"117_broken.sql": "SELECT 1/0;"})
	for range 2 { // The second time it fails anew.
		attempt(t, url, broken)
		err := outcome(t.Context(), url, testSet, slog.New(slog.DiscardHandler), 100*time.Millisecond)
		wantFailure(t, err, hook.MigrationFailed, "migration set "+testSet+" will not be there, since it failed", "117_broken.sql", "division by zero")
	}

	t.Run("services wait on", func(t *testing.T) {
		err := waitUntilSaid(t, "not recorded yet", func(ctx context.Context, log *slog.Logger) error {
			return migrate.WaitForSet(ctx, log, url, testSet)
		})
		wantFailure(t, err, hook.Deadline, "not recorded yet")
	})
	t.Run("another set has not failed", func(t *testing.T) {
		err := waitUntilSaid(t, "not recorded yet", func(ctx context.Context, log *slog.Logger) error {
			return outcome(ctx, url, "another", log, time.Millisecond)
		})
		wantFailure(t, err, hook.Deadline, "not recorded yet")
	})
	t.Run("a fixed set is there", func(t *testing.T) {
		write(t, broken.Dir, files{"117_broken.sql": "SELECT 1;"})
		apply(t, url, broken)
		if err := outcome(t.Context(), url, testSet, slog.New(slog.DiscardHandler), 0); err != nil {
			t.Error(err)
		}
	})
}

// The record of an attempt before this one is no verdict on this one, which comes while somebody waits already.
func TestWaitOutlastsTheFailureOfAnEarlierAttempt(t *testing.T) {
	url := pgtest.Start(t)
	broken := folder(t, "control-plane", files{"117_broken.sql": "SELECT 1/0;"})
	attempt(t, url, broken)
	said := &messages{}
	done := make(chan error)
	go func() {
		done <- outcome(t.Context(), url, testSet, slog.New(slog.NewTextHandler(said, nil)), time.Minute)
	}()
	eventually(t, "the wait has met the failure", func() bool {
		return strings.Contains(said.String(), "unless another attempt begins: migration control-plane/117_broken.sql")
	})
	write(t, broken.Dir, files{"117_broken.sql": "SELECT 1;"})
	apply(t, url, broken)
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

// What a retry may change is no failure of the set: the one who retries is still at work.
func TestOnlyAFinalFailureIsRecorded(t *testing.T) {
	url := pgtest.Start(t)
	apply(t, url, folder(t, "control-plane", nil))
	blocker := open(t, url, "blocker")
	exec(t, blocker, "BEGIN; LOCK TABLE users")
	m, _ := migrator(url)
	m.LockTimeout, m.Attempts = 10*time.Millisecond, 2
	_, err := m.Apply(t.Context(), "later", []hook.Migration{folder(t, "control-plane", files{"117_blocked.sql": "ALTER TABLE users ADD COLUMN x int;"})})
	wantFailure(t, err, hook.Busy, "117_blocked.sql")
	if got := query[string](t, open(t, url, "test"), "SELECT cause FROM neutree.migration_failures"); len(got) > 0 {
		t.Errorf("recorded: %q", got)
	}
}
