package migrate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// runnerEnv makes the test binary act as a run of migrations that a test can kill.
const runnerEnv = "MIGRATE_TEST_RUNNER"

const testSet = "5e7"

type runnerArgs struct {
	URL     string
	Folders []hook.Migration
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(runnerEnv); raw != "" {
		var args runnerArgs
		err := json.Unmarshal([]byte(raw), &args)
		if err == nil {
			_, err = migrate.Migrator{URL: args.URL, Log: slog.New(slog.DiscardHandler)}.Apply(context.Background(), testSet, args.Folders)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// files are SQL files by name.
type files map[string]string

// folder is a fixture's files, with others added.
func folder(t *testing.T, source string, extra files) hook.Migration {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", source))); err != nil {
		t.Fatal(err)
	}
	write(t, dir, extra)
	return hook.Migration{Source: source, Dir: dir}
}

func write(t *testing.T, dir string, extra files) {
	t.Helper()
	for name, sql := range extra {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func allFolders(t *testing.T) []hook.Migration {
	t.Helper()
	return []hook.Migration{folder(t, "control-plane", nil), folder(t, "gateway", nil), folder(t, "sandbox", nil)}
}

// messages keeps what is logged, for a test to wait for.
type messages struct {
	mu   sync.Mutex
	text strings.Builder
}

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(p)
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

func migrator(url string) (migrate.Migrator, *messages) {
	said := &messages{}
	return migrate.Migrator{URL: url, Log: slog.New(slog.NewTextHandler(said, nil)), Backoff: 10 * time.Millisecond}, said
}

func apply(t *testing.T, url string, folders ...hook.Migration) migrate.Result {
	t.Helper()
	m, _ := migrator(url)
	result, err := m.Apply(t.Context(), testSet, folders)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// wantFailure checks an error's exit code and that its message holds all the parts.
func wantFailure(t *testing.T, err error, code hook.Code, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with exit code %d", code)
	}
	if got := hook.CodeOf(err); got != code {
		t.Errorf("exit code %d, want %d: %v", got, code, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not say %q: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the message has more than one line: %q", err)
	}
}

// open is a second session on the database, with a name of its own.
func open(t *testing.T, url, name string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = name
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](t *testing.T, conn *pgx.Conn, sql string) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// state is all that a run changes: the schema and the ledgers.
func state(t *testing.T, url string) string {
	t.Helper()
	conn := open(t, url, "test")
	var b strings.Builder
	b.WriteString(pgtest.Dump(t, url))
	for _, ledger := range query[string](t, conn, "SELECT schemaname FROM pg_tables WHERE tablename = 'schema_migrations' ORDER BY 1") {
		fmt.Fprintln(&b, ledger, query[string](t, conn, "SELECT id FROM "+ledger+".schema_migrations ORDER BY id"))
	}
	return b.String()
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if condition() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
