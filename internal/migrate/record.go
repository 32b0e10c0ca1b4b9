package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// records is our own schema beside the platform's. Init containers wait for a row in
// migration_sets, so that they need nothing but the database's own credentials.
const records = `CREATE SCHEMA IF NOT EXISTS neutree;
CREATE TABLE IF NOT EXISTS neutree.migration_sets (
  set_hash text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now(), result jsonb NOT NULL);
ALTER TABLE neutree.migration_sets ADD COLUMN IF NOT EXISTS source text, ADD COLUMN IF NOT EXISTS ids jsonb;
CREATE TABLE IF NOT EXISTS neutree.breaking_migrations (id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS neutree.migration_failures (
  set_hash text PRIMARY KEY, failed_at timestamptz NOT NULL DEFAULT clock_timestamp(), cause text NOT NULL);
CREATE TABLE IF NOT EXISTS neutree.encryption_key (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), salt bytea NOT NULL, digest bytea NOT NULL);
CREATE TABLE IF NOT EXISTS neutree.owner (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), release text NOT NULL, namespace text NOT NULL,
  cluster text NOT NULL, claimed_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE neutree.owner ADD COLUMN IF NOT EXISTS began_empty boolean NOT NULL DEFAULT false;
CREATE TABLE IF NOT EXISTS neutree.seed_sets (
  set_hash text PRIMARY KEY, seeded_at timestamptz NOT NULL DEFAULT now())`

// recordSets notes that set, and those of the single folders, are applied. What an earlier run did is kept when
// this one did nothing. The ids of each folder's files are kept too, so that a later run can tell without the images
// what a release knows; and which of them are breaking, for hooks of an older release, which can't know.
func recordSets(ctx context.Context, conn *pgx.Conn, set string, folders []hook.Migration, files []File, result Result) error {
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
	const insert = "INSERT INTO neutree.migration_sets (set_hash, result, source, ids) VALUES ($1, $2::jsonb, $3, $4::jsonb) ON CONFLICT (set_hash) DO "
	if _, err = conn.Exec(ctx, insert+conflict, set, string(raw), nil, nil); err != nil {
		return fmt.Errorf("record the migration set: %w", err)
	}
	for _, folder := range folders {
		if folder.Set == "" {
			continue
		}
		ids, err := json.Marshal(idsOf(files, folder.Source))
		if err != nil {
			return err
		}
		// An image whose tag was moved to another one has other files by now.
		if _, err = conn.Exec(ctx, insert+"UPDATE SET ids = excluded.ids", folder.Set, string(raw), folder.Source, string(ids)); err != nil {
			return fmt.Errorf("record the migration set of %s: %w", folder.Source, err)
		}
	}
	for _, id := range platform.BreakingMigrations() {
		if !slices.ContainsFunc(files, func(f File) bool { return f.ID == id }) {
			continue
		}
		if _, err := conn.Exec(ctx, "INSERT INTO neutree.breaking_migrations (id) VALUES ($1) ON CONFLICT DO NOTHING", id); err != nil {
			return fmt.Errorf("record a breaking migration: %w", err)
		}
	}
	return nil
}

func idsOf(files []File, source string) []string {
	ids := []string{}
	for _, f := range files {
		if f.Source.Name == source {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// askTimeout bounds one question to the database. A session whose server vanished without a word would
// otherwise use up the whole wait, while the new primary could answer.
const askTimeout = 5 * time.Second

// WaitForSet waits until set is recorded in the database at databaseURL. It only reads.
func WaitForSet(ctx context.Context, log *slog.Logger, databaseURL, set string) error {
	return waitForRecord(ctx, log, databaseURL, setName(set), "set_hash = $1", set, notYet)
}

// WaitForSource waits until any set of source is recorded, of whatever release: the schema is there. It only reads.
func WaitForSource(ctx context.Context, log *slog.Logger, databaseURL, source string) error {
	return waitForRecord(ctx, log, databaseURL, "the migrations of "+source, "source = $1", source, notYet)
}

func setName(set string) string { return "migration set " + short(set) }

// notYet says nothing of why a record is missing.
func notYet(context.Context, *pgx.Conn) (string, error) { return "", nil }

// waitForRecord waits for a record. While it is missing, why may say more about that; an error of why with an exit code
// ends the wait.
func waitForRecord(ctx context.Context, log *slog.Logger, databaseURL, what, condition, value string, why func(context.Context, *pgx.Conn) (string, error)) error {
	if _, err := Config(databaseURL); err != nil {
		return err
	}
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			Close(ctx, conn)
		}
	}()
	logins := NewLogins(ctx)
	return hook.Poll(ctx, log, what, func(ctx context.Context) (bool, string, error) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var err error
		if conn == nil || conn.IsClosed() {
			if conn, err = Connect(ctx, databaseURL); err != nil {
				conn = nil
				return false, NoSession(err), logins.Failed(err)
			}
		}
		done, err := has(ctx, conn, "migration_sets", condition, value)
		if done {
			return true, "", nil
		}
		missing := ""
		if err == nil {
			missing, err = why(ctx, conn)
		}
		var final *hook.Error
		switch {
		case errors.As(err, &final):
			return false, "", final
		case err != nil:
			return false, "the database answers with an error: " + Reason(err), nil
		case missing != "":
			return false, missing, nil
		}
		return false, "the database answers, but the set is not recorded yet; the bootstrap Job's log says how far it is", nil
	})
}

// Seeded tells whether the seeds with this digest have run.
func Seeded(ctx context.Context, databaseURL, digest string) (bool, error) {
	conn, err := Connect(ctx, databaseURL)
	if err != nil {
		return false, err
	}
	defer Close(ctx, conn)
	return has(ctx, conn, "seed_sets", "set_hash = $1", digest)
}

// RecordSeeded notes that the seeds with this digest have run.
func RecordSeeded(ctx context.Context, databaseURL, digest string) error {
	conn, err := Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer Close(ctx, conn)
	_, err = conn.Exec(ctx, "INSERT INTO neutree.seed_sets (set_hash) VALUES ($1) ON CONFLICT DO NOTHING", digest)
	return err
}

// has looks for a row of one of our tables, which may not exist yet, nor have all its columns.
func has(ctx context.Context, conn *pgx.Conn, table, condition, value string) (bool, error) {
	var one int
	err := conn.QueryRow(ctx, "SELECT 1 FROM neutree."+table+" WHERE "+condition+" LIMIT 1", value).Scan(&one)
	switch {
	case errors.Is(err, pgx.ErrNoRows), absent(err):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// absent tells whether err says that a table, a schema or a column of ours does not exist yet.
func absent(err error) bool {
	switch sqlState(err) {
	case "42P01", "3F000", "42703":
		return true
	}
	return false
}

// short is enough of a hash to recognise it by.
func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12] + "…"
	}
	return hash
}
