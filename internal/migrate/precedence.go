package migrate

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// An upgrade precedes a scheduled backup: its own backup needs the same volume, and its migrations need tables that a
// dump reads. The pod of a scheduled backup has no rights in the cluster, and the hook of an upgrade none on the Jobs
// of a CronJob. So they agree by advisory locks, which also hold where a tool leaves hooks out: a scheduled backup
// holds scheduledKey, and ends as soon as a session holds upgradeKey or lockKey.
const (
	upgradeKey   int64 = 0x6e61702d75706772
	scheduledKey int64 = 0x6e61702d73636865
)

// ScheduledApplication is what the sessions of pg_dump call themselves in a scheduled backup.
const ScheduledApplication = "nap-hooks scheduled backup"

// precedenceWait is how long a scheduled backup has to end: it looks for an upgrade every second, and pg_dump has ten
// seconds to stop.
const precedenceWait = 30 * time.Second

// Precedence keeps scheduled backups from the database, from Take until End.
type Precedence struct {
	Log *slog.Logger
	// URL is the database's address, with its password.
	URL string
	// Wait bounds the wait for a scheduled backup to end, whose sessions are ended then; 0 means 30 seconds.
	Wait time.Duration

	conn *pgx.Conn
}

// Take returns once no scheduled backup reads the database. One that starts from then on ends by itself. It may be
// called again, since a restart of the database loses what was taken.
func (p *Precedence) Take(ctx context.Context) error {
	if p.conn != nil && p.conn.Ping(ctx) == nil {
		return nil
	}
	p.End(ctx)
	conn, err := Connect(ctx, p.URL)
	if err != nil {
		return fmt.Errorf("connect to the database: %s", Reason(err))
	}
	p.conn = conn
	return precede(ctx, p.Log, conn, cmp.Or(p.Wait, precedenceWait))
}

// End lets scheduled backups run again.
func (p *Precedence) End(ctx context.Context) {
	if p.conn == nil {
		return
	}
	letGo(ctx, p.conn)
	p.conn = nil
}

// letGo ends a session with locks. Of one that is only closed the server learns a moment later.
func letGo(ctx context.Context, conn *pgx.Conn) {
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// A session that is lost has none.
	_, _ = conn.Exec(releasing, "SELECT pg_advisory_unlock_all()")
	Close(ctx, conn)
}

// precede takes upgradeKey for the session of conn, and returns once no session holds scheduledKey.
func precede(ctx context.Context, log *slog.Logger, conn *pgx.Conn, wait time.Duration) error {
	// Shared: the hook of an upgrade holds it, and so does the Job that migrates for it.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock_shared($1)", upgradeKey); err != nil {
		return fmt.Errorf("keep scheduled backups from the database: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := hook.Poll(waiting, log, "a scheduled backup to give way", func(context.Context) (bool, string, error) {
		// The wait's own context would break the connection in mid-query.
		holder, err := lockHolder(ctx, conn, scheduledKey, "")
		return holder == "", holder + " is still reading the database", err
	})
	if hook.CodeOf(err) != hook.Deadline || ctx.Err() != nil {
		return err
	}
	log.Warn("a scheduled backup does not give way, so its sessions in the database are ended", "after", wait.String())
	_, err = conn.Exec(ctx, `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid()
   AND (a.application_name = $1 OR a.pid IN (`+fmt.Sprintf(holdersOf, "$2", "$3")+`))`,
		ScheduledApplication, scheduledKey>>32, scheduledKey&0xffffffff)
	if err != nil {
		return fmt.Errorf("end the sessions of a scheduled backup: %w", err)
	}
	return nil
}

// answerWait is how long a scheduled backup waits for a database that does not answer: an upgrade may restart it.
const answerWait = 5 * time.Minute

// watchUpgradesEvery is short against precedenceWait.
const watchUpgradesEvery = time.Second

// GiveWay begins a scheduled backup. The context that it returns ends as soon as an upgrade needs the database, and its
// cause says so with exit code hook.Busy. While an upgrade is at work, or another scheduled backup, it refuses with the
// same code. The function that it returns has to be called when the backup has ended.
func GiveWay(ctx context.Context, log *slog.Logger, databaseURL string) (context.Context, func(), error) {
	conn, err := connectPatiently(ctx, log, databaseURL)
	if err != nil {
		return nil, nil, err
	}
	if err := begin(ctx, conn); err != nil {
		letGo(ctx, conn)
		return nil, nil, err
	}
	watched, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(watchUpgradesEvery)
		defer ticker.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-ticker.C:
			}
			if err := refuseDuringUpgrade(watched, conn); err != nil {
				cancel(err)
				return
			}
		}
	}()
	return watched, func() { cancel(nil); <-ended; letGo(ctx, conn) }, nil
}

func connectPatiently(ctx context.Context, log *slog.Logger, databaseURL string) (conn *pgx.Conn, err error) {
	if _, err := Config(databaseURL); err != nil {
		return nil, err
	}
	patient, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	err = hook.Poll(patient, log, "the database to answer", func(ctx context.Context) (bool, string, error) {
		var err error
		if conn, err = Connect(ctx, databaseURL); err != nil {
			return false, Reason(err), nil
		}
		return true, "", nil
	})
	return conn, err
}

// begin takes scheduledKey for the session of conn, and looks for an upgrade only then: an upgrade looks for the holder
// of that lock after it has taken its own.
func begin(ctx context.Context, conn *pgx.Conn) error {
	var got bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", scheduledKey).Scan(&got); err != nil {
		return fmt.Errorf("take the lock of scheduled backups: %w", err)
	}
	if got {
		return refuseDuringUpgrade(ctx, conn)
	}
	holder, err := lockHolder(ctx, conn, scheduledKey, endedSession)
	if err != nil {
		return err
	}
	return hook.Failf(hook.Busy, finding.BackupBusy, tryAgain, "another scheduled backup is running: %s", holder)
}

// tryAgain is what to do about a scheduled backup that has given way.
const tryAgain = "nothing: the Job tries again until its deadline"

// refuseDuringUpgrade refuses while an upgrade needs the database.
func refuseDuringUpgrade(ctx context.Context, conn *pgx.Conn) error {
	for _, key := range []int64{upgradeKey, lockKey} {
		holder, err := lockHolder(ctx, conn, key, "")
		if err != nil {
			return fmt.Errorf("look for an upgrade that needs the database: %w", err)
		}
		if holder != "" {
			return hook.Failf(hook.Busy, finding.BackupBusy, tryAgain,
				"the backup gives way to an upgrade, which is at work on the database: %s", holder)
		}
	}
	return nil
}
