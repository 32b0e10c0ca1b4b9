package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// maxDifferences is how many tables that differ a result names.
const maxDifferences = 8

// Drill restores the backup called name into an empty, throw-away database, and says whether it is good. An error means
// that this could not be found out.
func (b *Backup) Drill(ctx context.Context, name string) (DrillResult, error) {
	r := DrillResult{Backup: name, Rows: "not compared", Credentials: "not checked", Schema: "not checked"}
	m, err := b.Read(name)
	if err != nil {
		return r, err
	}
	r.Time, r.Tables, r.DatabaseBytes = m.Time, m.Tables, m.DatabaseBytes
	if err := b.awaitEmpty(ctx); err != nil {
		return r, err
	}
	m, afs, err := b.checkAll(ctx, name, false)
	if err != nil {
		return r.fail(ctx, err)
	}
	if r.AFS = "not part of the backup"; afs != "" {
		r.AFS = "intact"
	}
	began := time.Now()
	if err := b.restoreEmpty(ctx, m); err != nil {
		return r.fail(ctx, fmt.Errorf("the dump could not be restored: %w", err))
	}
	r.RestoreSeconds = time.Since(began).Round(100 * time.Millisecond).Seconds()
	b.Log.Info("the dump is restored", "tables", m.Tables, "seconds", r.RestoreSeconds)
	if err := b.compareRestored(ctx, m, &r); err != nil {
		return r, err
	}
	// As a restore does it.
	applied, err := migrate.Migrator{URL: b.DatabaseURL, CredentialKey: b.CredentialKey, Log: b.Log}.
		Apply(ctx, b.Spec.Set, b.Spec.Migrations)
	if err != nil {
		return r.fail(ctx, fmt.Errorf("the schema could not be brought up to date: %w", err))
	}
	r.Schema = applied.String()
	r.Passed = len(r.Problems) == 0
	return r, nil
}

// compareRestored compares the rows with the record and decrypts a credential.
func (b *Backup) compareRestored(ctx context.Context, m Metadata, r *DrillResult) error {
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	restored, err := countRows(ctx, conn)
	if err != nil {
		return err
	}
	var total int64
	for _, n := range restored {
		total += n
	}
	r.Rows = fmt.Sprintf("%d in %d tables, not compared: the backup does not record how many there were", total, len(restored))
	if m.Rows != nil {
		differences := differingRows(m.Rows, restored)
		r.Rows = fmt.Sprintf("%d in %d tables, as recorded", total, len(restored))
		if len(differences) > 0 {
			r.Rows = fmt.Sprintf("%d in %d tables, of which %d differ", total, len(restored), len(differences))
			if more := len(differences) - maxDifferences; more > 0 {
				differences = append(differences[:maxDifferences], fmt.Sprintf("%d more tables differ", more))
			}
			r.Problems = append(r.Problems, differences...)
		}
	}
	found, problem, err := b.decryptCredential(ctx, conn)
	if err != nil {
		return err
	}
	if r.Credentials = found; problem != "" {
		r.Problems = append(r.Problems, problem)
	}
	return nil
}

// awaitEmpty waits for the throw-away database and refuses one that holds anything: no drill may write where data is.
func (b *Backup) awaitEmpty(ctx context.Context) error {
	return hook.Poll(ctx, b.Log, "the throw-away database", func(ctx context.Context) (bool, string, error) {
		conn, err := migrate.Connect(ctx, b.DatabaseURL)
		if err != nil {
			return false, migrate.Reason(err), nil
		}
		defer migrate.Close(ctx, conn)
		var holds int
		err = conn.QueryRow(ctx, `SELECT count(*) FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
   WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`).Scan(&holds)
		if err != nil {
			return false, migrate.Reason(err), nil
		}
		if holds > 0 {
			return false, "", hook.Refusef(finding.BackupDrill, "run the drill again, which starts with an empty one",
				"the database of the drill is not empty: it contains %d tables, views and the like, and nothing was changed", holds)
		}
		return true, "", nil
	})
}

// restoreEmpty plays the dump into the empty database. Rights of roles that only the live server has are left out.
func (b *Backup) restoreEmpty(ctx context.Context, m Metadata) error {
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	dump := filepath.Join(b.Spec.Dir, m.Name, databaseFile)
	list, err := b.restoreList(ctx, conn, dump)
	if err != nil {
		return err
	}
	cmd, err := b.connection(b.command(ctx, "pg_restore", "--no-owner", "--no-privileges", "--no-tablespaces",
		"--exit-on-error", "--jobs=2", "--use-list="+list))
	if err != nil {
		return err
	}
	cmd.Args = append(cmd.Args, dump)
	b.Log.Info("restoring the dump into the throw-away database", "size", Size(m.DatabaseBytes))
	var said tail
	cmd.Stderr = &said
	err = explain(cmd, cmd.Run(), said.errors())
	if err != nil && conn.Ping(ctx) != nil {
		return fmt.Errorf("the throw-away database was lost: %v", err)
	}
	return err
}

// errors are the lines of what a program says that name an error. The others can quote rows.
func (t *tail) errors() *tail {
	var kept tail
	for line := range strings.Lines(t.buf.String()) {
		if strings.Contains(line, "error:") || strings.Contains(line, "ERROR:") {
			kept.buf.WriteString(line)
		}
	}
	return &kept
}

// fail makes an error the reason why the backup is not good, unless it says something of the drill alone: that its time
// is over, its database was lost or full, or its image lacks programs.
func (r DrillResult) fail(ctx context.Context, err error) (DrillResult, error) {
	if ctx.Err() != nil || !ofBackup(err) {
		return r, err
	}
	r.Passed, r.Problems = false, append(r.Problems, short(err.Error()))
	return r, nil
}

func ofBackup(err error) bool {
	if slices.ContainsFunc(finding.Of(err), func(f finding.Finding) bool { return f.ID == finding.BackupPrograms }) {
		return false
	}
	switch hook.CodeOf(err) {
	case hook.Refused, hook.MigrationFailed:
		return true
	}
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited() && !errors.Is(err, syscall.ENOSPC)
}

// short bounds a text, so that a result fits into a termination message.
func short(text string) string {
	const most = 1500
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// Message encodes a result for a Job's termination message.
func (r DrillResult) Message() (string, error) {
	raw, err := json.Marshal(r)
	return string(raw), err
}
