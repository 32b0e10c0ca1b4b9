package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/migrate"
)

// dumpedTables are the tables whose rows a dump contains. Partitions and heirs are tables of their own, and the record of
// the owner stays out of dumps.
const dumpedTables = `SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND c.oid IS DISTINCT FROM to_regclass('` + migrate.OwnerTable + `')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1`

// countRows counts the rows of all tables that a dump contains, by the table's name. Columns that are stored apart, which
// are what makes tables large, are not read for that.
func countRows(ctx context.Context, conn *pgx.Conn) (map[string]int64, error) {
	rows, err := conn.Query(ctx, dumpedTables)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	counts := make(map[string]int64, len(tables))
	for _, table := range tables {
		var n int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM ONLY "+table).Scan(&n); err != nil {
			return nil, fmt.Errorf("count the rows of table %s: %w", table, err)
		}
		counts[table] = n
	}
	return counts, nil
}

// recordRows notes how many rows the tables had, in the transaction that the dump is a snapshot of. A backup without
// that is as good: a drill then compares nothing.
func (b *Backup) recordRows(ctx context.Context, conn *pgx.Conn, m *Metadata) error {
	counts, err := countRows(ctx, conn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		b.Log.Warn("the backup does not record how many rows the tables have, so a drill will not compare them",
			"cause", migrate.Reason(err))
		return nil
	}
	m.Rows = counts
	return nil
}

// differingRows says in one sentence each which tables have another number of rows than was recorded.
func differingRows(recorded, restored map[string]int64) []string {
	var differences []string
	for _, table := range slices.Sorted(maps.Keys(recorded)) {
		switch n, is := restored[table]; {
		case !is:
			differences = append(differences, fmt.Sprintf("table %s is missing", table))
		case n != recorded[table]:
			differences = append(differences, fmt.Sprintf("table %s has %d rows, not %d", table, n, recorded[table]))
		}
	}
	for _, table := range slices.Sorted(maps.Keys(restored)) {
		if _, is := recorded[table]; !is {
			differences = append(differences, fmt.Sprintf("table %s was not in the database", table))
		}
	}
	return differences
}
