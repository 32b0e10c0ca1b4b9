package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// lockWait bounds the wait for a migration that is just running.
const lockWait = 2 * time.Minute

// Restore brings both databases back to what the backup called name holds, then the schema to what the release's
// services expect, and has every running workspace get a new token. The database changes in one transaction: killed or
// failed before its end, everything is as before. No service may write meanwhile. A second run ends in the same state.
//
// The exit code of an error says what the databases are: hook.HalfRestored is a pair that does not fit together,
// hook.MigrationFailed a restored pair with an older schema. With hook.Unchanged, hook.Busy and hook.Refused nothing was
// replaced. Any other code leaves that open.
func (b *Backup) Restore(ctx context.Context, name string, newer bool) (string, error) {
	id, err := b.attemptID()
	if err != nil {
		return "", err
	}
	unlock, err := b.lock("backup restore " + name)
	if err != nil {
		if b.touched(id) {
			// An earlier pod of this attempt is still at work, so this one can't say what the databases are.
			return "", &hook.Error{Code: hook.Unexpected, Err: err}
		}
		return "", err
	}
	defer unlock()
	attempt, err := b.readAttempt(ctx, id)
	if err != nil {
		return "", err
	}
	m, afs, err := b.checkAll(ctx, name, newer)
	if err != nil {
		return "", attempt.failed(err)
	}
	began := time.Now()
	if err := b.restoreDatabase(ctx, m, attempt); err != nil {
		return "", attempt.failed(err)
	}
	if err := b.endSeries(); err != nil {
		return "", err
	}
	b.Log.Info("the database is restored", "tables", m.Tables, "elapsed", time.Since(began).Round(time.Millisecond).String())
	if afs != "" {
		if err := loadSQLite(ctx, afs, b.Spec.AFS); err != nil {
			return "", hook.Failf(hook.HalfRestored, finding.BackupHalfRestored,
				"fix the cause, then run the same restore again",
				"the platform's database is restored and AFS's is not (%v): services must not run on the two", err)
		}
		b.Log.Info("AFS's database is restored")
	} else {
		b.Log.Warn("the backup holds no database of AFS's: the one that is there stays")
	}
	result, err := migrate.Migrator{URL: b.DatabaseURL, CredentialKey: b.CredentialKey, Log: b.Log}.Apply(ctx, b.Spec.Set, b.Spec.Migrations)
	if err != nil {
		return "", fmt.Errorf("backup %s is restored, but its schema could not be brought up to date: %w", name, err)
	}
	tokens, unknown, err := b.reconcileWorkspaces(ctx)
	if err != nil {
		return "", hook.Failf(hook.HalfRestored, finding.BackupHalfRestored, "run the same restore again",
			"backup %s is restored, but its workspaces would not reach the platform: %v", name, err)
	}
	if err := attempt.forget(); err != nil {
		return "", err
	}
	sentence := fmt.Sprintf("backup %s of %s is restored in %.1f s: %d tables; %s", name, m.Time.Format(time.RFC3339),
		time.Since(began).Seconds(), m.Tables, result)
	if tokens > 0 {
		sentence += fmt.Sprintf("; %d running workspaces are restarted with new tokens", tokens)
	}
	return RestoreMessage(sentence, unknown)
}

// checkAll checks the backup and returns the file of AFS's database in it, "" where there is none to restore.
func (b *Backup) checkAll(ctx context.Context, name string, newer bool) (Metadata, string, error) {
	m, err := b.Check(ctx, name, newer)
	if err != nil {
		return m, "", err
	}
	if _, hasAFS := m.Files[afsFile]; !hasAFS || b.Spec.AFS == "" {
		return m, "", nil
	}
	afs := filepath.Join(b.Spec.Dir, name, afsFile)
	if err := checkSealed(ctx, afs); err != nil {
		return m, "", damaged(name, "%v", err)
	}
	return m, afs, nil
}

// restoreDatabase replaces what the database holds by what the dump does. It holds the lock of migrations meanwhile.
func (b *Backup) restoreDatabase(ctx context.Context, m Metadata, attempt *attempt) error {
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	if err := migrate.Lock(ctx, b.Log, conn, lockWait); err != nil {
		return err
	}
	owner, err := b.owner(ctx, conn)
	if err != nil {
		return err
	}
	beganEmpty, err := migrate.BeganEmpty(ctx, conn)
	if err != nil {
		return err
	}
	dump := filepath.Join(b.Spec.Dir, m.Name, databaseFile)
	list, err := b.restoreList(ctx, conn, dump)
	if err != nil {
		return err
	}
	defer os.Remove(list) //nolint:errcheck // It lies in a temporary folder.
	b.Log.Info("restoring the database", "size", Size(m.DatabaseBytes))
	if err := b.replay(ctx, dump, list, attempt); err != nil {
		committed, serr := attempt.settle(ctx)
		switch blockers := b.blockers(ctx, conn); {
		case serr != nil:
			return errors.Join(err, serr)
		case committed:
			b.Log.Warn("the connection was lost after the database had been replaced", "cause", err.Error())
		case strings.Contains(err.Error(), "lock timeout") && blockers != "":
			return hook.Failf(hook.Busy, finding.BackupBusy, "end them, then restore again",
				"nothing is changed: other sessions use the database (%s)", blockers)
		default:
			return fmt.Errorf("nothing is changed: %w", err)
		}
	}
	if owner.Known() {
		if err := migrate.PutOwner(ctx, conn, owner, beganEmpty); err != nil {
			return err
		}
	}
	// A restored table has no statistics yet. Without them the first queries would be slow, and no more.
	if _, err := conn.Exec(ctx, "ANALYZE"); err != nil {
		b.Log.Warn("the tables were not analyzed", "cause", migrate.Reason(err))
	}
	return nil
}

// owner is the release that the database belongs to once it is restored: the one that it belongs to now, since a dump
// does not say. The database of another release is not touched.
func (b *Backup) owner(ctx context.Context, conn *pgx.Conn) (migrate.Owner, error) {
	mine := migrate.Owner{Release: b.Spec.Release, Namespace: b.Spec.Namespace}
	owner, err := migrate.ReadOwner(ctx, conn)
	switch {
	case err != nil:
		return owner, err
	case mine.Namespace == "":
		return owner, nil
	case !owner.Known():
		return mine, nil
	case !owner.Admits(mine, ""):
		return owner, hook.Refuse(migrate.OtherOwner(owner, mine))
	}
	return owner, nil
}

// replay feeds the dump to psql as one transaction that begins with the removal of everything there is. The script of
// pg_restore ends with the COMMIT, so psql rolls back whenever the script does not arrive whole. Nothing of it is sent
// before the transaction's number is noted: only so can a later run find out how the transaction ended.
func (b *Backup) replay(ctx context.Context, dump, list string, attempt *attempt) error {
	source := b.command(ctx, "pg_restore", "--single-transaction", "--no-owner", "--use-list="+list, "--file=-", dump)
	target, err := b.connection(b.command(ctx, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
		"--set=ON_ERROR_STOP=1", "--file=-"))
	if err != nil {
		return err
	}
	var sourceSaid, targetSaid tail
	announced := &announcement{numbers: make(chan string, 1)}
	source.Stderr, target.Stderr, target.Stdout = &sourceSaid, &targetSaid, announced
	script, err := source.StdoutPipe()
	if err != nil {
		return err
	}
	input, err := target.StdinPipe()
	if err != nil {
		return err
	}
	if err := source.Start(); err != nil {
		return explain(source, err, &sourceSaid)
	}
	if err := target.Start(); err != nil {
		_ = source.Process.Kill()
		_ = source.Wait()
		return explain(target, err, &targetSaid)
	}
	ended, fed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer input.Close() //nolint:errcheck // psql has gone or reads the end.
		fed <- b.feed(input, script, announced, ended, attempt)
	}()
	targetErr := explain(target, target.Wait(), &targetSaid)
	close(ended)
	if targetErr != nil {
		// Nobody reads the rest.
		_ = source.Process.Kill()
	}
	fedErr := <-fed
	if fedErr != nil {
		_ = source.Process.Kill()
	}
	sourceErr := explain(source, source.Wait(), &sourceSaid)
	// psql's own words come first: the others only heard that it was gone.
	return cmp.Or(targetErr, fedErr, sourceErr)
}

// feed writes the script to psql. An error keeps it from psql whole, so psql rolls back.
func (b *Backup) feed(psql io.Writer, script io.Reader, announced *announcement, ended <-chan struct{},
	attempt *attempt) error {
	if _, err := io.WriteString(psql, b.clear()+announce); err != nil {
		return fmt.Errorf("write to psql: %w", err)
	}
	select {
	case number := <-announced.numbers:
		if err := attempt.begin(number); err != nil {
			return err
		}
	case <-ended:
		return errors.New("psql ended before it said which transaction it is in")
	}
	if _, err := io.Copy(psql, script); err != nil {
		return fmt.Errorf("write to psql: %w", err)
	}
	return nil
}

// restoreList is the dump's list without extensions that belong to others: they stay, and only their owners may
// comment on them.
func (b *Backup) restoreList(ctx context.Context, conn *pgx.Conn, dump string) (string, error) {
	rows, err := conn.Query(ctx, "SELECT extname FROM pg_extension WHERE extowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)")
	if err != nil {
		return "", fmt.Errorf("list the extensions: %w", err)
	}
	foreign, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("list the extensions: %w", err)
	}
	var all, ours bytes.Buffer
	if err := run(b.command(ctx, "pg_restore", "--list", dump), &all); err != nil {
		return "", err
	}
	for line := range strings.Lines(all.String()) {
		if !ofExtension(line, foreign) {
			ours.WriteString(line)
		}
	}
	f, err := os.CreateTemp("", "restore-*.list")
	if err != nil {
		return "", fmt.Errorf("write the list of what to restore: %w", err)
	}
	_, err = f.Write(ours.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("write the list of what to restore: %w", err)
	}
	return f.Name(), nil
}

func ofExtension(line string, names []string) bool {
	for _, name := range names {
		if strings.Contains(line, " EXTENSION - "+name+" ") || strings.Contains(line, " COMMENT - EXTENSION "+name+" ") {
			return true
		}
	}
	return false
}

// blockers names other sessions that are in the middle of something.
func (b *Backup) blockers(ctx context.Context, conn *pgx.Conn) string {
	rows, err := conn.Query(ctx, `SELECT format('pid %s (%s)', pid, coalesce(nullif(application_name, ''), 'unnamed')) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL ORDER BY pid`)
	if err != nil {
		return ""
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return ""
	}
	return strings.Join(names, ", ")
}
