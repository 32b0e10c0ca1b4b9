package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"modernc.org/sqlite"
)

// busyWait is how long SQLite waits for another process to finish its transaction.
const busyWait = 10 * time.Second

// sqliteFull is SQLite's code for a volume without room.
const sqliteFull = 13

// sqliteConn is what the driver offers beyond database/sql.
type sqliteConn interface {
	NewBackup(to string) (*sqlite.Backup, error)
	NewRestore(from string) (*sqlite.Backup, error)
}

// saveSQLite copies the database at from to the new file to, while others go on to use it.
func saveSQLite(ctx context.Context, from, to string) error {
	err := withSQLite(ctx, from, func(conn *sql.Conn) error {
		return copyPages(ctx, conn, func(c sqliteConn) (*sqlite.Backup, error) { return c.NewBackup(to) })
	})
	if err != nil {
		return fmt.Errorf("copy AFS's database %s: %w", from, err)
	}
	return checkSQLite(ctx, to)
}

// loadSQLite replaces the content of the database at to, which is made if it is missing, by that of from: all of it or
// nothing, by a transaction of SQLite's own.
func loadSQLite(ctx context.Context, from, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_RDWR, 0o640)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = withSQLite(ctx, to, func(conn *sql.Conn) error {
			return copyPages(ctx, conn, func(c sqliteConn) (*sqlite.Backup, error) { return c.NewRestore(from) })
		})
	}
	if err != nil {
		return fmt.Errorf("restore AFS's database %s: %w", to, err)
	}
	return checkSQLite(ctx, to)
}

// copyPages runs a copy to its end. Between the steps others may write; SQLite then starts over.
func copyPages(ctx context.Context, conn *sql.Conn, begin func(sqliteConn) (*sqlite.Backup, error)) error {
	return conn.Raw(func(driver any) error {
		c, ok := driver.(sqliteConn)
		if !ok {
			return fmt.Errorf("the driver %T can't copy databases", driver)
		}
		copying, err := begin(c)
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if err = ctx.Err(); err == nil {
				more, err = copying.Step(1000)
			}
		}
		return errors.Join(err, copying.Finish())
	})
}

// checkSQLite reads the whole database at path.
func checkSQLite(ctx context.Context, path string) error {
	return withSQLite(ctx, path, func(conn *sql.Conn) error { return checkPages(ctx, conn, path) })
}

// checkSealed is checkSQLite for a file that does not change. It may be on a volume that is mounted to read only.
func checkSealed(ctx context.Context, path string) error {
	sealed := url.Values{"mode": {"ro"}, "immutable": {"1"}}
	return openSQLite(ctx, path, sealed, func(conn *sql.Conn) error { return checkPages(ctx, conn, path) })
}

func checkPages(ctx context.Context, conn *sql.Conn, path string) error {
	var result string
	if err := conn.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&result); err != nil {
		return fmt.Errorf("check AFS's database %s: %w", path, err)
	}
	if result != "ok" {
		return fmt.Errorf("AFS's database %s is damaged: %s", path, result)
	}
	return nil
}

func withSQLite(ctx context.Context, path string, do func(*sql.Conn) error) error {
	return openSQLite(ctx, path, url.Values{
		"mode": {"rw"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyWait.Milliseconds())},
	}, do)
}

func openSQLite(ctx context.Context, path string, options url.Values, do func(*sql.Conn) error) error {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // Everything is written by then.
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // The database is closed after it.
	return do(conn)
}
