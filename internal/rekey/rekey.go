// Package rekey encrypts what users have stored as credentials with another key, in one transaction that moves the
// record of the key too. No key is sent to the server: the values are decrypted and encrypted here.
package rekey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Rekey is one change of the key in one database.
type Rekey struct {
	Log *slog.Logger
	// DatabaseURL is the database's address, with its password.
	DatabaseURL string
	// New is the key that credentials get.
	New string
	// Known are the keys that they may be encrypted with now. New may be one of them.
	Known []string
	// Key says where the key is, for messages.
	Key hook.SecretRef
	// LockWait bounds the wait for a migration, and that for the table; 0 means 15 seconds.
	LockWait time.Duration
}

// Result says what became of the credentials.
type Result struct {
	// Encrypted are those that have the new key now, Already those that had it before.
	Encrypted, Already int
	// Unreadable are those that no key opened: whose they are and their names. They are left as they are.
	Unreadable []string
}

// named is how many credentials a message names: all of them might not fit into one.
const named = 20

// String is one sentence.
func (r Result) String() string {
	said := fmt.Sprintf("%d credentials are encrypted with the new key", r.Encrypted)
	if r.Already > 0 {
		said += fmt.Sprintf(", %d were before", r.Already)
	}
	if n := len(r.Unreadable); n > 0 {
		said += fmt.Sprintf(", and %d could not be read with the old key and are left as they are: %s", n,
			strings.Join(r.Unreadable[:min(n, named)], "; "))
		if n > named {
			said += fmt.Sprintf("; and %d more", n-named)
		}
	}
	return said
}

// Run does it. It may be run again at any time. An error with the code hook.Unchanged, hook.Refused or hook.Busy says
// that no credential has the new key, also not because of an earlier run. Any other leaves that open.
func (r *Rekey) Run(ctx context.Context) (Result, error) {
	conn, err := migrate.Connect(ctx, r.DatabaseURL)
	if err != nil {
		return Result{}, fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	if err := migrate.Lock(ctx, r.Log, conn, r.lockWait()); err != nil {
		// An earlier attempt may have it, which may still change the credentials.
		return Result{}, hook.Errorf(hook.Unexpected, "%w", err)
	}
	if err := migrate.CreateRecords(ctx, conn); err != nil {
		return Result{}, err
	}
	moved, err := r.checkRecord(ctx, conn)
	if err != nil {
		return Result{}, err
	}
	result, err := r.encryptAll(ctx, conn)
	if err == nil {
		err = r.commit(ctx, conn, moved)
	}
	var decided *hook.Error
	switch {
	case err == nil:
		return result, nil
	case moved:
		// An earlier attempt has changed them, whatever this one says.
		return Result{}, hook.Errorf(hook.Unexpected, "%w", err)
	case errors.As(err, &decided):
		return Result{}, err
	}
	return Result{}, hook.Errorf(hook.Unchanged, "no credential was changed: %w", err)
}

func (r *Rekey) lockWait() time.Duration {
	if r.LockWait > 0 {
		return r.LockWait
	}
	return 15 * time.Second
}

// checkRecord refuses a database that was set up with none of the keys. It says whether the new key is its own already.
func (r *Rekey) checkRecord(ctx context.Context, conn *pgx.Conn) (moved bool, err error) {
	record, err := migrate.Key(ctx, conn)
	if err != nil {
		return false, err
	}
	if !record.Known() || slices.ContainsFunc(r.Known, record.Matches) {
		return record.Known() && record.Matches(r.New), nil
	}
	if record.Matches(r.New) {
		return true, nil
	}
	return false, hook.Refuse(finding.Finding{
		ID: finding.SecretsOldKey, Severity: finding.Error, Object: "Secret " + r.Key.Secret,
		Found: fmt.Sprintf("the credentials in the database are encrypted with another key than %s", r.Key),
		Why:   "without the key that they are encrypted with they can't be read",
		Fix:   "put that key back into the Secret and run the rotation again",
	})
}

// commit ends the transaction. Where the answer is lost, the record of the key says how it ended, unless moved says
// that it was that of the new key before.
func (r *Rekey) commit(ctx context.Context, conn *pgx.Conn, moved bool) error {
	_, err := conn.Exec(ctx, "COMMIT")
	if err == nil {
		return nil
	}
	migrate.Close(ctx, conn)
	ended, lost := r.ended(ctx)
	switch {
	case lost != nil || moved:
		return hook.Errorf(hook.Unexpected, "it is not known whether the credentials have the new key: %s",
			migrate.Reason(err))
	case ended:
		return nil
	}
	return fmt.Errorf("commit: %s", migrate.Reason(err))
}

// ended says whether the record is that of the new key, once no other session may change it any more: the server may
// still be at work on what it was sent last.
func (r *Rekey) ended(ctx context.Context) (bool, error) {
	conn, err := migrate.Connect(ctx, r.DatabaseURL)
	if err != nil {
		return false, err
	}
	defer migrate.Close(ctx, conn)
	if err := migrate.Lock(ctx, r.Log, conn, r.lockWait()); err != nil {
		return false, err
	}
	record, err := migrate.Key(ctx, conn)
	return err == nil && record.Known() && record.Matches(r.New), err
}

// begin starts the transaction and keeps others from writing credentials until it ends. Reads pass.
func (r *Rekey) begin(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.PgConn().Exec(ctx, fmt.Sprintf("BEGIN; SET LOCAL lock_timeout = %d; LOCK TABLE %s IN EXCLUSIVE MODE",
		r.lockWait().Milliseconds(), platform.CredentialTable)).ReadAll()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "55P03" {
		return err
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		return err
	}
	return hook.Failf(hook.Busy, finding.SecretsTableBusy,
		"end what they do, or the sessions with SELECT pg_terminate_backend(pid), and run the rotation again",
		"no credential was changed: other sessions use the table %s (%s)", platform.CredentialTable, users(ctx, conn))
}

// users names the sessions that have locked the table.
func users(ctx context.Context, conn *pgx.Conn) string {
	rows, err := conn.Query(ctx, `
SELECT DISTINCT format('pid %s (%s)', l.pid, coalesce(nullif(a.application_name, ''), 'unnamed'))
  FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.relation = to_regclass($1) AND l.granted AND l.pid <> pg_backend_pid() ORDER BY 1`, platform.CredentialTable)
	if err == nil {
		var found []string
		if found, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil && len(found) > 0 {
			return strings.Join(found, ", ")
		}
	}
	return "they have ended by now"
}
