package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// WaitForOutcome waits until set is recorded in the database at databaseURL, as WaitForSet does, and ends with the cause
// once a failure to apply it stands there for longer than patience. One that an earlier attempt has left goes before
// that: the next attempt takes it away when it begins. It only reads.
func WaitForOutcome(ctx context.Context, log *slog.Logger, databaseURL, set string, patience time.Duration) error {
	var last failure
	var since time.Time
	return waitForRecord(ctx, log, databaseURL, setName(set), "set_hash = $1", set, func(ctx context.Context, conn *pgx.Conn) (string, error) {
		found, err := failureOf(ctx, conn, set)
		if err != nil || found.cause == "" {
			last = failure{}
			return "", err
		}
		if !found.at.Equal(last.at) {
			last, since = found, time.Now()
		}
		if time.Since(since) < patience {
			return "it has failed, unless another attempt begins: " + found.cause, nil
		}
		return "", hook.Failf(hook.MigrationFailed, finding.MigrationsFailed, "",
			"%s will not be there, since it failed: %s", setName(set), found.cause)
	})
}

// failure is why a set could not be applied. It stands in a table of its own, since the other records mean success.
type failure struct {
	at    time.Time
	cause string
}

// failureOf is the failure of a set, with an empty cause if there is none.
func failureOf(ctx context.Context, conn *pgx.Conn, set string) (failure, error) {
	var f failure
	err := conn.QueryRow(ctx, "SELECT failed_at, cause FROM neutree.migration_failures WHERE set_hash = $1", set).Scan(&f.at, &f.cause)
	if errors.Is(err, pgx.ErrNoRows) || absent(err) {
		return failure{}, nil
	}
	return f, err
}

// recordFailure notes why set can't be applied, if no retry would change that. The failure itself is what a run
// reports, so a trouble with this note is only logged.
func (m Migrator) recordFailure(ctx context.Context, conn *pgx.Conn, set string, cause error) {
	list := finding.Of(cause)
	if hook.CodeOf(cause) != hook.MigrationFailed || len(list) == 0 {
		return
	}
	err := createOnce(ctx, conn, records)
	if err == nil {
		_, err = conn.Exec(ctx, "INSERT INTO neutree.migration_failures (set_hash, cause) VALUES ($1, $2) ON CONFLICT (set_hash) DO UPDATE SET failed_at = clock_timestamp(), cause = excluded.cause", set, list[0].Sentence())
	}
	if err != nil {
		m.Log.Warn("the failure could not be recorded, so who waits for these migrations does so until a deadline", "cause", Reason(err))
	}
}

// forgetFailure is the beginning of another attempt.
func forgetFailure(ctx context.Context, conn *pgx.Conn, set string) error {
	_, err := conn.Exec(ctx, "DELETE FROM neutree.migration_failures WHERE set_hash = $1", set)
	if err != nil && !absent(err) {
		return fmt.Errorf("take away the record of an earlier failure: %w", err)
	}
	return nil
}
