package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
)

// records is our own schema beside the platform's. Init containers wait for a row in
// migration_sets, so that they need nothing but the database's own credentials.
const records = `CREATE SCHEMA IF NOT EXISTS neutree;
CREATE TABLE IF NOT EXISTS neutree.migration_sets (
  set_hash text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now(), result jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS neutree.seed_sets (
  set_hash text PRIMARY KEY, seeded_at timestamptz NOT NULL DEFAULT now())`

// recordSet notes that set is applied. What an earlier run did is kept when this one did nothing.
func recordSet(ctx context.Context, conn *pgx.Conn, set string, result Result) error {
	if err := createOnce(ctx, conn, records); err != nil {
		return fmt.Errorf("create the schema neutree: %w", err)
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return err
	}
	conflict := "NOTHING"
	if len(result.Applied) > 0 {
		conflict = "UPDATE SET applied_at = excluded.applied_at, result = excluded.result"
	}
	_, err = conn.Exec(ctx, "INSERT INTO neutree.migration_sets (set_hash, result) VALUES ($1, $2::jsonb) ON CONFLICT (set_hash) DO "+conflict, set, string(raw))
	if err != nil {
		return fmt.Errorf("record the migration set: %w", err)
	}
	return nil
}

// askTimeout bounds one question to the database. A session whose server vanished without a word would
// otherwise use up the whole wait, while the new primary could answer.
const askTimeout = 5 * time.Second

// WaitForSet waits until set is recorded in the database at databaseURL. It only reads.
func WaitForSet(ctx context.Context, log *slog.Logger, databaseURL, set string) error {
	if _, err := Config(databaseURL); err != nil {
		return err
	}
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			closeConn(ctx, conn)
		}
	}()
	return hook.Poll(ctx, log, "migration set "+short(set), func(ctx context.Context) (bool, string, error) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var err error
		if conn == nil || conn.IsClosed() {
			if conn, err = Connect(ctx, databaseURL); err != nil {
				conn = nil
				return false, "the database does not answer: " + Reason(err), nil
			}
		}
		done, err := has(ctx, conn, "migration_sets", set)
		if err != nil {
			return false, "the database answers with an error: " + Reason(err), nil
		}
		return done, "the database answers, but the set is not recorded yet; the bootstrap Job's log says how far it is", nil
	})
}

// Seeded tells whether the seeds with this digest have run.
func Seeded(ctx context.Context, databaseURL, digest string) (bool, error) {
	conn, err := Connect(ctx, databaseURL)
	if err != nil {
		return false, err
	}
	defer closeConn(ctx, conn)
	return has(ctx, conn, "seed_sets", digest)
}

// RecordSeeded notes that the seeds with this digest have run.
func RecordSeeded(ctx context.Context, databaseURL, digest string) error {
	conn, err := Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	_, err = conn.Exec(ctx, "INSERT INTO neutree.seed_sets (set_hash) VALUES ($1) ON CONFLICT DO NOTHING", digest)
	return err
}

// has looks a hash up in one of our tables, which may not exist yet.
func has(ctx context.Context, conn *pgx.Conn, table, hash string) (bool, error) {
	var one int
	err := conn.QueryRow(ctx, "SELECT 1 FROM neutree."+table+" WHERE set_hash = $1", hash).Scan(&one)
	switch state := sqlState(err); {
	case errors.Is(err, pgx.ErrNoRows), state == "42P01", state == "3F000":
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// short is enough of a hash to recognise it by.
func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12] + "…"
	}
	return hash
}
