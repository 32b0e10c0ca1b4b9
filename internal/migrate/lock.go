package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// lockKey is the advisory lock of a run. Advisory locks belong to one database, so a constant is enough.
const lockKey int64 = 0x6e61702d6d696772

// lock is held by a session of its own, from before the plan until the last file.
type lock struct {
	conn *pgx.Conn
}

// acquire waits up to patience for the lock, telling who holds it.
func acquire(ctx context.Context, log *slog.Logger, conn *pgx.Conn, patience time.Duration) (*lock, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var holder string
	err := hook.Poll(waiting, log, "the migration lock", func(context.Context) (bool, string, error) {
		// The wait's own context would break the connection in mid-query.
		var got bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", lockKey).Scan(&got); err != nil {
			return false, "", fmt.Errorf("take the migration lock: %w", err)
		}
		if got {
			return true, "", nil
		}
		var err error
		holder, err = lockHolder(ctx, conn, lockKey, endedSession)
		return false, "held by " + holder, err
	})
	if hook.CodeOf(err) == hook.Deadline && ctx.Err() == nil {
		return nil, hook.Failf(hook.Busy, finding.MigrationsLocked,
			"wait until that run ends, or end its session with SELECT pg_terminate_backend(pid)",
			"the migration lock was not free within %s: it is held by %s", patience, holder)
	}
	if err != nil {
		return nil, err
	}
	return &lock{conn: conn}, nil
}

// endedSession describes the holder of a lock that is free again.
const endedSession = "a session that has just ended"

// holdersOf selects the pids that hold an advisory lock, whose key is given as two halves.
const holdersOf = `SELECT l.pid FROM pg_locks l
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.classid::bigint = %s AND l.objid::bigint = %s`

// lockHolder describes the sessions that hold the advisory lock key, and is none where there is no such session.
func lockHolder(ctx context.Context, conn *pgx.Conn, key int64, none string) (string, error) {
	rows, err := conn.Query(ctx, `SELECT h.pid, coalesce(a.application_name, '')
  FROM (`+fmt.Sprintf(holdersOf, "$1", "$2")+`) h LEFT JOIN pg_stat_activity a ON a.pid = h.pid`,
		key>>32, key&0xffffffff)
	if err != nil {
		return "", err
	}
	return describeSessions(rows, none)
}

// blockers names the sessions that the one with pid waits for, "" when it waits for none.
func (l *lock) blockers(ctx context.Context, pid uint32) (string, error) {
	rows, err := l.conn.Query(ctx, `SELECT b.pid, coalesce(a.application_name, '')
  FROM unnest(pg_blocking_pids($1)) AS b(pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid`, int64(pid))
	if err != nil {
		return "", err
	}
	return describeSessions(rows, "")
}

func describeSessions(rows pgx.Rows, none string) (string, error) {
	sessions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var pid int64
		var app string
		err := row.Scan(&pid, &app)
		if app == "" {
			app = "unnamed"
		}
		return fmt.Sprintf("pid %d (%s)", pid, app), err
	})
	if err != nil || len(sessions) == 0 {
		return none, err
	}
	return strings.Join(sessions, ", "), nil
}

// check fails when the session that holds the lock is gone, and the lock with it.
func (l *lock) check(ctx context.Context) error {
	if err := l.conn.Ping(ctx); err != nil {
		return fmt.Errorf("the session that held the migration lock is lost: %w", err)
	}
	return nil
}

// watchEvery is short against the lock timeout, so that whoever blocks is seen before it passes.
const watchEvery = 200 * time.Millisecond

// watch looks out for sessions that block the one with pid. The function it returns ends that and
// names the last ones seen. Until then nothing else may use the lock's session.
func (l *lock) watch(ctx context.Context, log *slog.Logger, f File, pid uint32) func() string {
	var seen string
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			who, err := l.blockers(ctx, pid)
			if err != nil {
				// A lost session is reported by check, before the next file.
				return
			}
			if who != "" && who != seen {
				log.Info("a migration waits for another session", "file", f.Name(), "blocked by", who)
				seen = who
			}
		}
	}()
	return func() string {
		close(stop)
		<-stopped
		return seen
	}
}
