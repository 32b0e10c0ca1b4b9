package backup_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// restoreEnv makes the test binary act as a restore that a test can kill.
const restoreEnv = "BACKUP_TEST_RESTORE"

type restoreArgs struct {
	Spec     hook.BackupSpec
	URL, Bin string
	Name     string
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(restoreEnv); raw != "" {
		var args restoreArgs
		err := json.Unmarshal([]byte(raw), &args)
		if err == nil {
			b := backup.Backup{Log: slog.New(slog.DiscardHandler), Spec: args.Spec, DatabaseURL: args.URL, Bin: args.Bin}
			_, err = b.Restore(context.Background(), args.Name, false)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// columns has a column of every kind that the platform's schema has, and some more.
const columns = `CREATE SCHEMA sandbox;
CREATE TYPE public.mood AS ENUM ('calm', 'busy');
CREATE DOMAIN public.short_text AS text CHECK (length(VALUE) < 100);
CREATE TABLE public.everything (
  id bigserial PRIMARY KEY, flag boolean, small smallint, whole integer, exact numeric(20, 5), approximate double precision,
  words text, fixed char(5), raw bytea, day date, moment timestamptz, local timestamp, span interval,
  plain json, document jsonb, list text[], key uuid, address inet, feeling public.mood, brief public.short_text,
  doubled integer GENERATED ALWAYS AS (whole * 2) STORED);
INSERT INTO public.everything (flag, small, whole, exact, approximate, words, fixed, raw, day, moment, local, span, plain, document, list, key, address, feeling, brief)
SELECT n % 2 = 0, n, n * 1000, n / 7.0, n / 3.0::float8, E'tab\t newline\n quote'' \\. ' || n || ' ünï', 'ab', decode(md5(n::text), 'hex'), date '2026-01-01' + n,
  timestamptz '2026-01-01 00:00:00.123456+02' + n * interval '1 minute', timestamp '2026-01-01' + n * interval '1 hour', n * interval '1 day 3 seconds',
  '{"b": 1,  "a": [1, 2]}', jsonb_build_object('n', n, 'deep', jsonb_build_array(null, true)), ARRAY['a', NULL, 'x,y"' || n], md5(n::text)::uuid,
  ('10.0.0.' || n)::inet, 'busy', 'short'
FROM generate_series(1, 50) n;
INSERT INTO public.everything DEFAULT VALUES;
CREATE TABLE sandbox.children (id int PRIMARY KEY, parent bigint REFERENCES public.everything);
INSERT INTO sandbox.children VALUES (1, 1), (2, 2);
CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) FROM public.everything;
SELECT lo_from_bytea(0, 'a large object');`

// fixture is a database with the platform's schema and rows, and a store for its backups.
type fixture struct {
	backup.Backup
	said *bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	said := &bytes.Buffer{}
	f := &fixture{said: said, Backup: backup.Backup{
		Log:         slog.New(slog.NewTextHandler(said, nil)),
		DatabaseURL: pgtest.Start(t),
		Bin:         filepath.Dir(pgtest.Tool(t, "pg_dump")),
		Spec: hook.BackupSpec{
			Dir: filepath.Join(t.TempDir(), "backups"), Claim: "nap-backups", Size: "1Gi", Retention: 3,
			AFS:     filepath.Join(t.TempDir(), "controller.db"),
			Release: "neutree", Revision: 3, Chart: "0.1.0", Images: map[string]string{"controlPlane": "r/nap-cp:v0.2.0"}, Set: "5e7",
			Migrations: []hook.Migration{
				{Source: "control-plane", Dir: "../../test/standin/migrations/control-plane"},
				{Source: "gateway", Dir: "../../test/standin/migrations/gateway"},
			},
		},
	}}
	if _, err := (migrate.Migrator{URL: f.DatabaseURL, Log: f.Log}).Apply(t.Context(), f.Spec.Set, f.Spec.Migrations); err != nil {
		t.Fatal(err)
	}
	f.exec(t, columns)
	f.sqlite(t, "CREATE TABLE dirs (id TEXT PRIMARY KEY, path TEXT)", "INSERT INTO dirs VALUES ('d1', '/a'), ('d2', '/b')")
	return f
}

func (f *fixture) exec(t *testing.T, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // A test's session.
	if _, err := conn.Exec(t.Context(), statements, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

func (f *fixture) sqlite(t *testing.T, statements ...string) {
	t.Helper()
	db := openSQLite(t, f.Spec.AFS)
	defer db.Close() //nolint:errcheck // A test's session.
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func openSQLite(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// dirs are the rows of AFS's database.
func (f *fixture) dirs(t *testing.T) string {
	t.Helper()
	db := openSQLite(t, f.Spec.AFS)
	defer db.Close() //nolint:errcheck // A test's session.
	var rows string
	if err := db.QueryRowContext(t.Context(), "SELECT group_concat(id || '=' || path ORDER BY id) FROM dirs").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// everything is the database as pg_dump writes it out: schema, rows, sequences, large objects.
func (f *fixture) everything(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(pgtest.Tool(t, "pg_dump"), "--dbname", f.DatabaseURL).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	var kept []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func (f *fixture) create(t *testing.T, name string) backup.Metadata {
	t.Helper()
	m, err := f.Create(t.Context(), name, "by hand", "")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (f *fixture) names(t *testing.T) []string {
	t.Helper()
	list, damaged, err := f.List()
	if err != nil || len(damaged) > 0 {
		t.Fatal(err, damaged)
	}
	names := []string{}
	for _, m := range list {
		names = append(names, m.Name)
	}
	return names
}

func wantFailure(t *testing.T, err error, code hook.Code, parts ...string) {
	t.Helper()
	if err == nil || hook.CodeOf(err) != code {
		t.Fatalf("exit code %d, want %d: %v", hook.CodeOf(err), code, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not say %q: %v", part, err)
		}
	}
}
