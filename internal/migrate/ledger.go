package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Ledgers returns the ids in every ledger of the platform's that the database has, by ledger.
func Ledgers(ctx context.Context, conn *pgx.Conn) (map[string][]string, error) {
	all := map[string][]string{}
	for _, source := range platform.MigrationSources() {
		name := source.Ledger()
		if _, ok := all[name]; ok {
			continue
		}
		l, err := readLedger(ctx, conn, source)
		if err != nil {
			return nil, fmt.Errorf("read the ledger %s: %w", name, err)
		}
		if len(l) > 0 {
			all[name] = slices.Sorted(maps.Keys(l))
		}
	}
	return all, nil
}

// Ahead returns the ids in ledgers for which the folders hold no file: what a newer release applied.
func Ahead(ledgers map[string][]string, folders []hook.Migration) ([]string, error) {
	files, err := ReadFolders(folders)
	if err != nil {
		return nil, err
	}
	sets := map[string]ledger{}
	for name, ids := range ledgers {
		sets[name] = ledger{}
		for _, id := range ids {
			sets[name][id] = true
		}
	}
	return compare(sets, files).Ahead, nil
}

// LastSet is the set of migrations that was applied last, and when that was: "" when none is recorded.
func LastSet(ctx context.Context, conn *pgx.Conn) (set string, applied time.Time, err error) {
	// A query that fails would end the caller's transaction.
	var exists bool
	err = conn.QueryRow(ctx, "SELECT to_regclass('neutree.migration_sets') IS NOT NULL").Scan(&exists)
	if err == nil && exists {
		err = conn.QueryRow(ctx,
			"SELECT set_hash, applied_at FROM neutree.migration_sets ORDER BY applied_at DESC, set_hash LIMIT 1").
			Scan(&set, &applied)
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", time.Time{}, fmt.Errorf("read the set of migrations that was applied last: %w", err)
	}
	return set, applied.UTC(), nil
}

// Lock keeps migrations away until conn is closed. It waits up to patience for one that runs.
func Lock(ctx context.Context, log *slog.Logger, conn *pgx.Conn, patience time.Duration) error {
	_, err := acquire(ctx, log, conn, patience)
	return err
}
