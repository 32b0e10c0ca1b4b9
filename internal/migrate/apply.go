// Package migrate brings the platform's database to the schema that its services expect. It applies
// the services' own SQL files and keeps their ledgers exactly as they do themselves, so that a
// service which starts later finds nothing left to do.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Migrator applies folders of migrations to one database.
type Migrator struct {
	// URL is the database's address, with its password.
	URL string
	// CredentialKey is shown to the files that may need it, if it is set.
	CredentialKey string
	Log           *slog.Logger

	// UnlessPending makes Apply end with hook.Pending, and nothing changed, where there is something to apply.
	UnlessPending bool
	// RefuseAhead makes Apply refuse a database that a newer release has migrated, before it changes anything.
	RefuseAhead bool

	// StillPending, when set, is asked before anything is committed. An error with an exit code, as when the release is
	// rolled back, ends the run with what was committed before it. Another error says that there was no answer: the file
	// that it comes from is rolled back and tried again once there is one.
	StillPending func(context.Context) error

	// LockWait bounds the wait for another run; 0 means two minutes.
	LockWait time.Duration
	// LockTimeout bounds each wait for a table that another session uses; 0 means three seconds.
	// It is short since everybody else queues behind a waiting ALTER TABLE.
	LockTimeout time.Duration
	// Attempts is how often a file is tried whose lock timeout passes; 0 means 6.
	Attempts int
	// Backoff is the first pause between two attempts; it doubles each time; 0 means one second.
	Backoff time.Duration
}

// Result says what a run did.
type Result struct {
	Applied []Applied `json:"applied"`
	// Ahead are ledger ids without a file: a newer release has been here.
	Ahead []string `json:"ahead,omitempty"`
}

// Applied is one file that a run applied.
type Applied struct {
	Source string `json:"source"`
	ID     string `json:"id"`
	Millis int64  `json:"millis"`
}

// String sums the result up in one sentence.
func (r Result) String() string {
	if len(r.Applied) == 0 {
		return "the schema was up to date"
	}
	last := r.Applied[len(r.Applied)-1]
	return fmt.Sprintf("%d migrations applied, the last one %s of %s", len(r.Applied), last.ID, last.Source)
}

// Plan says what Apply would do. It changes nothing.
func (m Migrator) Plan(ctx context.Context, folders []hook.Migration) (Plan, error) {
	files, err := ReadFolders(folders)
	if err != nil {
		return Plan{}, err
	}
	conn, err := Connect(ctx, m.URL)
	if err != nil {
		return Plan{}, fmt.Errorf("connect to the database: %w", err)
	}
	defer Close(ctx, conn)
	return makePlan(ctx, conn, files)
}

// Apply applies what is pending in the folders, then records set, and that of each folder, as done.
func (m Migrator) Apply(ctx context.Context, set string, folders []hook.Migration) (Result, error) {
	m = m.withDefaults()
	files, err := ReadFolders(folders)
	if err != nil {
		return Result{}, err
	}
	conn, err := Connect(ctx, m.URL)
	if err != nil {
		return Result{}, fmt.Errorf("connect to the database: %w", err)
	}
	defer Close(ctx, conn)
	plan, err := makePlan(ctx, conn, files)
	if err != nil {
		return Result{}, err
	}
	if len(plan.Ahead) > 0 {
		if m.RefuseAhead {
			sources, err := newFolders(ctx, conn, folders)
			if err != nil {
				return Result{}, err
			}
			if ahead := OfSources(plan.Ahead, sources); len(ahead) > 0 {
				return Result{}, hook.Refuse(Older(ahead))
			}
		}
		m.Log.Warn("the ledgers hold migrations that these images do not know; a newer release has run on this database", "ids", plan.Ahead)
	}
	result := Result{Applied: []Applied{}, Ahead: plan.Ahead}
	if len(plan.Pending) > 0 {
		if m.UnlessPending {
			return result, hook.Errorf(hook.Pending,
				"%d migrations to apply, the first one %s", len(plan.Pending), plan.Pending[0].Name())
		}
		if err := m.awaitPending(ctx); err != nil {
			return result, err
		}
		if err := forgetFailure(ctx, conn, set); err != nil {
			return result, err
		}
		if result.Applied, err = m.applyAll(ctx, conn, files); err != nil {
			m.recordFailure(ctx, conn, set, err)
			return result, err
		}
	}
	if err := verify(ctx, conn, files); err != nil {
		return result, err
	}
	// Before the record, for which services wait.
	fillViews(ctx, m.Log, conn)
	if err := m.awaitPending(ctx); err != nil {
		return result, err
	}
	if err := recordSets(ctx, conn, set, folders, files, result); err != nil || m.CredentialKey == "" {
		return result, err
	}
	return result, putKey(ctx, conn, m.CredentialKey, "NOTHING")
}

func (m Migrator) withDefaults() Migrator {
	if m.LockWait == 0 {
		m.LockWait = 2 * time.Minute
	}
	if m.LockTimeout == 0 {
		m.LockTimeout = 3 * time.Second
	}
	if m.Attempts == 0 {
		m.Attempts = 6
	}
	if m.Backoff == 0 {
		m.Backoff = time.Second
	}
	return m
}

// applyAll applies what is pending once conn holds the lock; another run may have done it by then.
func (m Migrator) applyAll(ctx context.Context, conn *pgx.Conn, files []File) ([]Applied, error) {
	l, err := acquire(ctx, m.Log, conn, m.LockWait)
	if err != nil {
		return nil, err
	}
	if err := precede(ctx, m.Log, conn, precedenceWait); err != nil {
		return nil, err
	}
	plan, err := makePlan(ctx, conn, files)
	if err != nil {
		return nil, err
	}
	m.Log.Info("migrating", "pending", len(plan.Pending), "applied before", plan.Applied)
	done := []Applied{}
	made := map[string]bool{}
	session := &session{url: m.URL}
	defer session.close(ctx)
	for _, f := range plan.Pending {
		if ledger := f.Source.Ledger(); !made[ledger] {
			if err := m.awaitPending(ctx); err != nil {
				return done, err
			}
			if err := createLedger(ctx, conn, f.Source); err != nil {
				return done, fmt.Errorf("create the ledger %s: %w", ledger, err)
			}
			made[ledger] = true
		}
		start := time.Now()
		if err := m.applyWithRetries(ctx, l, session, f); err != nil {
			return done, err
		}
		took := time.Since(start).Milliseconds()
		m.Log.Info("applied", "file", f.Name(), "id", f.ID, "millis", took)
		done = append(done, Applied{Source: f.Source.Name, ID: f.ID, Millis: took})
	}
	return done, nil
}

// createLedger makes the ledger of a source as the service would.
func createLedger(ctx context.Context, conn *pgx.Conn, source platform.MigrationSource) error {
	sql := "CREATE TABLE IF NOT EXISTS " + source.Ledger() +
		" (id text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
	if source.Schema != "public" {
		sql = "CREATE SCHEMA IF NOT EXISTS " + source.Schema + "; " + sql
	}
	return createOnce(ctx, conn, sql)
}

// createOnce runs DDL of the form IF NOT EXISTS. Two sessions that do so at once can both find
// nothing, and one then fails on the other's catalogue row: the next try finds it.
func createOnce(ctx context.Context, conn *pgx.Conn, sql string) error {
	var err error
	for range 5 {
		if _, err = conn.PgConn().Exec(ctx, sql).ReadAll(); err == nil {
			return nil
		}
		switch sqlState(err) {
		case "23505", "42P06", "42P07", "42710", "XX000":
		default:
			return err
		}
	}
	return err
}

// applyWithRetries applies one file. It tries again when another session blocks it.
func (m Migrator) applyWithRetries(ctx context.Context, l *lock, session *session, f File) error {
	sql, err := os.ReadFile(f.Path)
	if err != nil {
		return fmt.Errorf("read migration %s: %w", f.Name(), err)
	}
	pause := m.Backoff
	var blockedBy string
	for attempt := 1; ; attempt++ {
		if err := l.check(ctx); err != nil {
			return err
		}
		who, err := m.applyFile(ctx, l, session, f, string(sql))
		if err == nil {
			return nil
		}
		if who != "" {
			blockedBy = who
		}
		if ctx.Err() != nil {
			return fmt.Errorf("migration %s was cut off and rolled back: %w", f.Name(), err)
		}
		if unanswered := (*unansweredError)(nil); errors.As(err, &unanswered) {
			m.Log.Warn("a migration was rolled back, since it is not known whether the release is still being upgraded",
				"file", f.Name(), "cause", err.Error())
			if err := m.awaitPending(ctx); err != nil {
				return fmt.Errorf("migration %s was rolled back: %w", f.Name(), err)
			}
			attempt--
			continue
		}
		// The services migrate at their start too, without our lock.
		if held, lerr := readLedger(ctx, l.conn, f.Source); lerr == nil && held[f.ID] {
			m.Log.Warn("somebody else applied a migration at the same time", "file", f.Name())
			return nil
		}
		switch state := sqlState(err); {
		case state == "55P03" || state == "40P01": // lock_not_available, deadlock_detected
		case state == "" || transient(state):
			return fmt.Errorf("migration %s was rolled back: %w", f.Name(), err)
		default:
			return m.failed(f, string(sql), err)
		}
		if attempt >= m.Attempts {
			if blockedBy == "" {
				blockedBy = "a session that ended meanwhile"
			}
			return hook.Failf(hook.Busy, finding.MigrationsLocked,
				"stop what that session does, or end it with SELECT pg_terminate_backend(pid)",
				"migration %s got no lock in %d attempts of %s each: it is blocked by %s", f.Name(), m.Attempts, m.LockTimeout, blockedBy)
		}
		m.Log.Warn("a migration is blocked and will be tried again", "file", f.Name(), "attempt", attempt, "blocked by", who)
		select {
		case <-ctx.Done():
			return fmt.Errorf("migration %s was blocked by %s: %w", f.Name(), blockedBy, ctx.Err())
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause *= 2
	}
}

// applyFile applies one file in one transaction of a clean session: dumps change settings of the session, which must
// not reach the next file. It returns who blocked it, if anybody did.
func (m Migrator) applyFile(ctx context.Context, l *lock, session *session, f File, sql string) (blockedBy string, err error) {
	conn, err := session.clean(ctx)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			session.close(ctx)
		}
	}()
	before := fmt.Sprintf("SET lock_timeout = %d; BEGIN", m.LockTimeout.Milliseconds())
	if _, err := conn.PgConn().Exec(ctx, before).ReadAll(); err != nil {
		return "", err
	}
	if f.Source.CredentialKey && m.CredentialKey != "" {
		if _, err := conn.Exec(ctx, "SELECT set_config('app.credential_encryption_key', $1, true)", m.CredentialKey); err != nil {
			return "", err
		}
	}
	blockers := l.watch(ctx, m.Log, f, conn.PgConn().PID())
	err = execFile(ctx, conn, sql)
	blockedBy = blockers()
	if err != nil {
		return blockedBy, err
	}
	if f.Source.ResetSearchPath {
		if _, err := conn.Exec(ctx, "RESET search_path"); err != nil {
			return "", err
		}
	}
	if _, err := conn.Exec(ctx, "INSERT INTO "+f.Source.Ledger()+" (id) VALUES ($1)", f.ID); err != nil {
		return "", err
	}
	if err := m.mayCommit(ctx); err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "COMMIT")
	return "", err
}

// execFile runs the statements of a file. A failure tells how many went well before it.
func execFile(ctx context.Context, conn *pgx.Conn, sql string) error {
	results := conn.PgConn().Exec(ctx, sql)
	completed := 0
	for results.NextResult() {
		if _, err := results.ResultReader().Close(); err != nil {
			break
		}
		completed++
	}
	if err := results.Close(); err != nil {
		return &fileError{completed: completed, err: err}
	}
	return nil
}

// verify makes sure that the ledgers hold every file.
func verify(ctx context.Context, conn *pgx.Conn, files []File) error {
	plan, err := makePlan(ctx, conn, files)
	if err != nil {
		return err
	}
	if len(plan.Pending) > 0 {
		var names []string
		for _, f := range plan.Pending {
			names = append(names, f.Name())
		}
		return fmt.Errorf("after the run the ledgers still lack %s", strings.Join(names, ", "))
	}
	return nil
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// transient tells whether a failure lies with the server's state and not with the file: lost
// connections, a lack of resources, a server that stops or is a replica now.
func transient(state string) bool {
	switch state[:2] {
	case "08", "53", "57", "58":
		return true
	}
	return state == "25006" || state == "40001"
}
