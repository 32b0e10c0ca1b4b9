package afs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	_ "modernc.org/sqlite" // The driver.
)

// database is the controller's file, open for as long as it runs, as the real one keeps it.
type database struct {
	lock *os.File
	db   *sql.DB
}

// schema has the real controller's tables. Rows of its own make the file worth saving.
const schema = `PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS filesystems (id TEXT PRIMARY KEY, name TEXT NOT NULL, base_path TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS dirs (id TEXT PRIMARY KEY, filesystem_id TEXT NOT NULL REFERENCES filesystems(id), path TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, opened_by INTEGER NOT NULL, opened_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
INSERT OR IGNORE INTO filesystems VALUES ('shared', 'shared', '/data/afs');
INSERT OR IGNORE INTO dirs VALUES ('3f2a', 'shared', '/data/afs/2a/3f/3f2a');`

// openDatabase opens the file for one controller. Two would each believe to be alone, which on a shared volume nothing
// else would notice in time; others may read meanwhile.
func openDatabase(ctx context.Context, path string) (*database, error) {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w (is %s a writable volume?)", err, filepath.Dir(path))
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close() //nolint:errcheck // Nothing was written.
		return nil, fmt.Errorf("database %s has another writer: only one controller may run", path)
	}
	db, err := open(path)
	if err == nil {
		// The lock leaves with the process only; the connection is one, as the real one's.
		db.SetMaxOpenConns(1)
		_, err = db.ExecContext(ctx, schema)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "INSERT INTO sessions (opened_by) VALUES (?)", os.Getpid())
	}
	d := &database{lock: lock, db: db}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the database %s: %w", path, err), d.Close())
	}
	return d, nil
}

// Close gives the file to the next controller.
func (d *database) Close() error {
	var err error
	if d.db != nil {
		err = d.db.Close()
	}
	return errors.Join(err, d.lock.Close())
}

// change runs statements in the database at path and writes its directories to w.
func change(ctx context.Context, w io.Writer, path string, statements []string) error {
	db, err := open(path)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // Every statement is its own transaction.
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	rows, err := db.QueryContext(ctx, "SELECT id, filesystem_id, path FROM dirs ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err tells.
	for rows.Next() {
		var id, filesystem, at string
		if err := rows.Scan(&id, &filesystem, &at); err != nil {
			return err
		}
		fmt.Fprintln(w, id, filesystem, at)
	}
	return rows.Err()
}

func open(path string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "_pragma=busy_timeout(5000)"}
	return sql.Open("sqlite", dsn.String())
}
