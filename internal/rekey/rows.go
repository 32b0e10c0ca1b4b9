package rekey

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgpsym"
	"github.com/neutree-ai/packaging/internal/platform"
)

// maxBatch is how many credentials are in memory at once, and maxBytes how many bytes they may have together as they
// are stored: the Job has the memory that a backup needs, whatever users store.
const (
	maxBatch = 1000
	maxBytes = 16 << 20
)

// batchOf is how many credentials are read at once where the largest has that many bytes.
func batchOf(largest int64) int64 { return min(max(maxBytes/max(largest, 1), 1), maxBatch) }

// table is what is to be known of the table with the credentials.
type table struct {
	// column has the encrypted value, as text in base64 or as bytes.
	column string
	text   bool
	// names are columns that say whose credential it is, and which.
	names []string
}

// row is one credential.
type row struct {
	at    pgtype.TID
	name  string
	value []byte
	// changed says that value is to be written, unreadable that no key opens it.
	changed, unreadable bool
}

// encryptAll does everything in the transaction but its end. A platform without the table has nothing to encrypt.
func (r *Rekey) encryptAll(ctx context.Context, conn *pgx.Conn) (Result, error) {
	var result Result
	var exists bool
	err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", platform.CredentialTable).Scan(&exists)
	if err != nil {
		return result, fmt.Errorf("look for the table %s: %w", platform.CredentialTable, err)
	}
	if !exists {
		if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
			return result, err
		}
		return result, migrate.MoveKey(ctx, conn, r.New)
	}
	if err := r.begin(ctx, conn); err != nil {
		return result, err
	}
	t, err := readTable(ctx, conn)
	if err != nil {
		return result, err
	}
	if _, err := conn.PgConn().Exec(ctx, t.prepare()).ReadAll(); err != nil {
		return result, fmt.Errorf("read the credentials: %w", err)
	}
	var largest int64
	if err := conn.QueryRow(ctx, t.largest()).Scan(&largest); err != nil {
		return result, fmt.Errorf("read the size of the credentials: %w", err)
	}
	for {
		rows, err := t.fetch(ctx, conn, batchOf(largest))
		if err != nil {
			return result, fmt.Errorf("read the credentials: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		if err := r.encrypt(rows); err != nil {
			return result, err
		}
		if err := t.keep(ctx, conn, rows, &result); err != nil {
			return result, fmt.Errorf("write the credentials: %w", err)
		}
		r.Log.Info("encrypting credentials with the new key", "done", result.Encrypted)
	}
	written, err := conn.Exec(ctx, t.update())
	if err != nil {
		return result, fmt.Errorf("write the credentials: %w", err)
	}
	if n := int(written.RowsAffected()); n != result.Encrypted {
		return result, fmt.Errorf("%d credentials were to be written, and %d were", result.Encrypted, n)
	}
	return result, migrate.MoveKey(ctx, conn, r.New)
}

// readTable finds the columns.
func readTable(ctx context.Context, conn *pgx.Conn) (table, error) {
	rows, err := conn.Query(ctx, `SELECT a.attname::text, a.atttypid::regtype::text, coalesce(i.indisprimary, false)
  FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)
 WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum`, platform.CredentialTable)
	if err != nil {
		return table{}, fmt.Errorf("read the columns of %s: %w", platform.CredentialTable, err)
	}
	var t table
	var name, kind string
	var primary bool
	_, err = pgx.ForEachRow(rows, []any{&name, &kind, &primary}, func() error {
		if slices.Contains(platform.CredentialColumns(), name) && (kind == "text" || kind == "bytea") {
			t.column, t.text = name, kind == "text"
		}
		if primary || name == "user_id" {
			t.names = append(t.names, name)
		}
		return nil
	})
	switch {
	case err != nil:
		return table{}, fmt.Errorf("read the columns of %s: %w", platform.CredentialTable, err)
	case t.column == "":
		return table{}, hook.Refusef(finding.SecretsForm, "use the plugin and the chart of the platform's version",
			"no credential was changed: %s has no column %s, so this version of the platform stores credentials otherwise",
			platform.CredentialTable, strings.Join(platform.CredentialColumns(), " or "))
	}
	return t, nil
}

// prepare opens a cursor, which does not see what the transaction writes later, and makes a table for the new values.
// Their rows are changed at the end, all at once.
func (t table) prepare() string {
	column, of := pgx.Identifier{t.column}.Sanitize(), "bytea"
	if t.text {
		of = "text"
	}
	selected := []string{"ctid", column}
	for _, name := range t.names {
		selected = append(selected, pgx.Identifier{name}.Sanitize()+"::text")
	}
	return fmt.Sprintf(`CREATE TEMPORARY TABLE neutree_credentials (at tid, value %s) ON COMMIT DROP;
DECLARE credentials NO SCROLL CURSOR FOR SELECT %s FROM %s WHERE %s IS NOT NULL`,
		of, strings.Join(selected, ", "), platform.CredentialTable, column)
}

// update writes the new values.
func (t table) update() string {
	return fmt.Sprintf("UPDATE %s AS c SET %s = n.value FROM pg_temp.neutree_credentials AS n WHERE c.ctid = n.at",
		platform.CredentialTable, pgx.Identifier{t.column}.Sanitize())
}

// largest reads how many bytes the largest value has.
func (t table) largest() string {
	return fmt.Sprintf("SELECT coalesce(max(octet_length(%s)), 0) FROM %s", pgx.Identifier{t.column}.Sanitize(),
		platform.CredentialTable)
}

// fetch reads the next credentials, none at the end.
func (t table) fetch(ctx context.Context, conn *pgx.Conn, batch int64) ([]*row, error) {
	rows, err := conn.Query(ctx, fmt.Sprintf("FETCH %d FROM credentials", batch))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(from pgx.CollectableRow) (*row, error) {
		one, text := &row{}, ""
		names := make([]*string, len(t.names))
		into := []any{&one.at, &one.value}
		if t.text {
			into[1] = &text
		}
		for i := range names {
			into = append(into, &names[i])
		}
		if err := from.Scan(into...); err != nil {
			return nil, err
		}
		if t.text {
			var err error
			if one.value, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
				// No message then, so it is left as it is.
				one.value = nil
			}
		}
		one.name = t.name(names)
		return one, nil
	})
}

// name says whose credential it is, and which.
func (t table) name(values []*string) string {
	var parts []string
	for i, value := range values {
		if value != nil {
			parts = append(parts, t.names[i]+" "+*value)
		}
	}
	return strings.Join(parts, ", ")
}

// encrypt gives the values of rows the new key, on all processors.
func (r *Rekey) encrypt(rows []*row) error {
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var working sync.WaitGroup
	for worker := range workers {
		working.Go(func() {
			for i := worker; i < len(rows) && errs[worker] == nil; i += workers {
				errs[worker] = r.encryptRow(rows[i])
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}

func (r *Rekey) encryptRow(one *row) error {
	message, err := pgpsym.Parse(one.value)
	if errors.Is(err, pgpsym.ErrUnsupported) {
		return r.unsupported(one)
	}
	if err != nil {
		one.unreadable = true
		return nil
	}
	for _, key := range r.Known {
		if key == r.New {
			continue
		}
		content, err := message.Open(key)
		if err != nil {
			continue
		}
		one.changed = true
		one.value, err = message.Seal(content, r.New)
		return err
	}
	_, err = message.Open(r.New)
	one.unreadable = err != nil
	return nil
}

func (r *Rekey) unsupported(one *row) error {
	return hook.Refusef(finding.SecretsForm, "store that credential again, or delete it, and run the rotation again",
		"no credential was changed: one of them (%s) can't be encrypted again: %v", one.name, pgpsym.ErrUnsupported)
}

// keep writes what has changed into the temporary table, and counts.
func (t table) keep(ctx context.Context, conn *pgx.Conn, rows []*row, result *Result) error {
	var changed [][]any
	for _, one := range rows {
		switch {
		case one.unreadable:
			result.Unreadable = append(result.Unreadable, one.name)
		case !one.changed:
			result.Already++
		case t.text:
			changed = append(changed, []any{one.at, inLines(one.value)})
		default:
			changed = append(changed, []any{one.at, one.value})
		}
	}
	result.Encrypted += len(changed)
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"pg_temp", "neutree_credentials"}, []string{"at", "value"},
		pgx.CopyFromRows(changed))
	return err
}

// inLines is base64 as PostgreSQL's function encode writes it: each full line ends with a line break, unless the end of
// the text fills it up.
func inLines(value []byte) string {
	const width = 76
	text := base64.StdEncoding.EncodeToString(value)
	var b strings.Builder
	for len(text) > width || len(text) == width && len(value)%3 == 0 {
		b.WriteString(text[:width] + "\n")
		text = text[width:]
	}
	return b.String() + text
}
