package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/neutree-ai/packaging/internal/platform"
)

// undefinedTable is PostgreSQL's code for a relation that does not exist.
const undefinedTable = "42P01"

// CheckSchema refuses a database on which a file of dir was not applied, by the ledger of the named source of
// migrations. A ledger that holds more is fine: it was written by a newer release.
func CheckSchema(ctx context.Context, pool *pgxpool.Pool, dir, source string) error {
	from, err := platform.FindMigrationSource(source)
	if err != nil {
		return err
	}
	wanted, err := fileIDs(dir, from.IDPrefix)
	if err != nil {
		return err
	}
	applied, err := ledger(ctx, pool, from.Ledger())
	if err != nil {
		return err
	}
	for _, id := range wanted {
		if !slices.Contains(applied, id) {
			return fmt.Errorf("the schema is behind: migration %s of this image is not in %s; apply it before this service starts", id, from.Ledger())
		}
	}
	return nil
}

func fileIDs(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the image's migrations: %w (is the working directory the image's own?)", err)
	}
	var ids []string
	for _, entry := range entries {
		if name, isSQL := strings.CutSuffix(entry.Name(), ".sql"); isSQL {
			ids = append(ids, prefix+name)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("the image's folder %s holds no migration", dir)
	}
	return ids, nil
}

func ledger(ctx context.Context, pool *pgxpool.Pool, table string) ([]string, error) {
	// An error of Query comes again from CollectRows.
	rows, _ := pool.Query(ctx, "SELECT id FROM "+table)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if isUndefinedTable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	return ids, nil
}

func isUndefinedTable(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == undefinedTable
}
