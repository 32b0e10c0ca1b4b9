package migrate_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const reason = "the backup gives way to an upgrade, which is at work on the database: pid "

func giveWay(t *testing.T, url string) (context.Context, func()) {
	t.Helper()
	watched, done, err := migrate.GiveWay(t.Context(), slog.New(slog.DiscardHandler), url)
	if err != nil {
		t.Fatal(err)
	}
	return watched, done
}

// wantGivenWay returns once a scheduled backup was asked to end.
func wantGivenWay(t *testing.T, watched context.Context) {
	t.Helper()
	select {
	case <-watched.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it does not give way")
	}
	wantFailure(t, context.Cause(watched), hook.Busy, reason, "the Job tries again until its deadline [backup.busy]")
}

func wantTurnedAway(t *testing.T, url string, words ...string) {
	t.Helper()
	_, _, err := migrate.GiveWay(t.Context(), slog.New(slog.DiscardHandler), url)
	wantFailure(t, err, hook.Busy, words...)
}

func TestAScheduledBackupGivesWayToAnUpgrade(t *testing.T) {
	url := pgtest.Start(t)
	watched, done := giveWay(t, url)
	said := &messages{}
	first := &migrate.Precedence{Log: slog.New(slog.NewTextHandler(said, nil)), URL: url}
	took := make(chan error, 1)
	go func() { took <- first.Take(t.Context()) }()
	wantGivenWay(t, watched)
	// The backup still removes what it has written.
	select {
	case err := <-took:
		t.Fatalf("the upgrade continued before the backup had ended: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	done()
	if err := receive(t, took); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "waiting for a scheduled backup to give way") {
		t.Errorf("the upgrade does not say what it waits for: %s", said)
	}
	wantTurnedAway(t, url, reason)
	// A restart of the database loses the lock, and an upgrade takes it again.
	exec(t, open(t, url, "test"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "+
		"AND datname = current_database()")
	if err := first.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTurnedAway(t, url, reason)
	first.End(t.Context())
	_, done = giveWay(t, url)
	done()
}

// Bootstrap and the Job that migrates do not come through the hook before an upgrade.
func TestAScheduledBackupGivesWayToMigrations(t *testing.T) {
	url := pgtest.Start(t)
	folders := []hook.Migration{folder(t, "control-plane", slow())}
	watched, done := giveWay(t, url)
	m, _ := migrator(url)
	migrated := make(chan error, 1)
	go func() {
		_, err := m.Apply(t.Context(), testSet, folders)
		migrated <- err
	}()
	wantGivenWay(t, watched)
	done()
	if err := receive(t, migrated); err != nil {
		t.Fatal(err)
	}
	// What has nothing to migrate needs no precedence. The server takes a moment to notice that a session has ended.
	eventually(t, "the lock of the migrations has gone", func() bool {
		var err error
		watched, done, err = migrate.GiveWay(t.Context(), slog.New(slog.DiscardHandler), url)
		return err == nil
	})
	apply(t, url, folders...)
	if watched.Err() != nil {
		t.Errorf("a run without migrations cut it off: %v", context.Cause(watched))
	}
	done()
}

func TestAMigrationOfAnOlderVersionIsGivenWayTo(t *testing.T) {
	url := pgtest.Start(t)
	older := open(t, url, "nap-hooks on nap-migrate-x")
	exec(t, older, "SELECT pg_advisory_lock(x'6e61702d6d696772'::bigint)")
	wantTurnedAway(t, url, reason, "(nap-hooks on nap-migrate-x)")
}

func TestOfTwoScheduledBackupsOneRuns(t *testing.T) {
	url := pgtest.Start(t)
	_, done := giveWay(t, url)
	defer done()
	wantTurnedAway(t, url, "another scheduled backup is running: pid ")
}

// Its pod may be on a lost node.
func TestAScheduledBackupThatDoesNotGiveWayIsEnded(t *testing.T) {
	url := pgtest.Start(t)
	lost := open(t, url, "nap-hooks on nap-scheduled-backup-x")
	exec(t, lost, "SELECT pg_advisory_lock(x'6e61702d73636865'::bigint)")
	dump := open(t, url, migrate.ScheduledApplication)
	other := open(t, url, "nap-hooks backup")
	said := &messages{}
	first := &migrate.Precedence{
		Log: slog.New(slog.NewTextHandler(said, nil)), URL: url, Wait: 100 * time.Millisecond,
	}
	if err := first.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer first.End(t.Context())
	for name, session := range map[string]struct {
		conn  *pgx.Conn
		alive bool
	}{"the one that watches": {lost, false}, "pg_dump": {dump, false}, "another backup": {other, true}} {
		if err := session.conn.Ping(t.Context()); (err == nil) != session.alive {
			t.Errorf("%s: %v, want it to be alive: %t", name, err, session.alive)
		}
	}
	if !strings.Contains(said.String(), "a scheduled backup does not give way") {
		t.Errorf("nothing says so: %s", said)
	}
}

// A database that an upgrade restarts is waited for.
func TestAScheduledBackupWaitsForTheDatabase(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := migrate.GiveWay(ctx, slog.New(slog.DiscardHandler), "postgresql://nap:x@127.0.0.1:1/nap")
	wantFailure(t, err, hook.Deadline, "gave up waiting for the database to answer", "connection refused")
}
