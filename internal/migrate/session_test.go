package migrate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// leaky leaves something of every kind behind that a session keeps beyond a transaction.
const leaky = `SET search_path = pg_catalog; SET statement_timeout = '17min'; SET TIME ZONE 'Asia/Kathmandu';
SET row_security = off; SET check_function_bodies = false;
SET default_transaction_read_only = on; SET my.own = 'leaked';
CREATE TEMPORARY TABLE pg_temp.leaked AS SELECT 1 AS one; CREATE TEMPORARY SEQUENCE pg_temp.counter;
PREPARE leaked AS SELECT 1; DECLARE leaked CURSOR WITH HOLD FOR SELECT 1; LISTEN leaked;
SELECT pg_catalog.pg_advisory_lock(4711); SET lock_timeout = 0; SET LOCAL work_mem = '77MB';`

// observe writes down what a session carries: the place of the file tells nothing but the settings and objects.
const observe = `CREATE TABLE public.%s AS
 SELECT 'setting ' || name || '=' || setting AS kept FROM pg_settings WHERE source = 'session'
 UNION ALL SELECT 'custom ' || coalesce(current_setting('my.own', true), '')
 UNION ALL SELECT 'temporary ' || count(*) FROM pg_class WHERE relpersistence = 't' AND relname IN ('leaked', 'counter')
 UNION ALL SELECT 'prepared ' || count(*) FROM pg_prepared_statements WHERE name = 'leaked'
 UNION ALL SELECT 'cursors ' || count(*) FROM pg_cursors WHERE name = 'leaked'
 UNION ALL SELECT 'listens ' || count(*) FROM pg_listening_channels()
 UNION ALL SELECT 'advisory ' || count(*) FROM pg_locks
   WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objid = 4711
 UNION ALL SELECT 'role ' || current_user || ' ' || session_user;`

func TestWhatAFileSetsDoesNotReachTheNext(t *testing.T) {
	url := pgtest.Start(t)
	m, _ := migrator(url)
	_, err := m.Apply(t.Context(), testSet, []hook.Migration{
		{Source: "control-plane", Dir: dirOf(t, files{
			"001_first.sql": fmt.Sprintf(observe, "first"), "002_leaky.sql": leaky,
			"003_next.sql":  fmt.Sprintf(observe, "next"),
			"004_leaky.sql": leaky,
		})},
		// Another source's file, and one whose source does not reset the search path.
		{Source: "gateway", Dir: dirOf(t, files{"001_other.sql": fmt.Sprintf(observe, "other"),
			"002_leaky.sql": leaky})},
		{Source: "sandbox", Dir: dirOf(t, files{"001_last.sql": fmt.Sprintf(observe, "last")})},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := open(t, url, "test")
	kept := func(table string) string {
		return strings.Join(query[string](t, conn, "SELECT kept FROM public."+table+" ORDER BY 1"), "\n")
	}
	first := kept("first")
	if !strings.Contains(first, "setting lock_timeout=") {
		t.Fatalf("it does not see the session's settings:\n%s", first)
	}
	for _, table := range []string{"next", "other", "last"} {
		if diff := cmp.Diff(first, kept(table)); diff != "" {
			t.Errorf("the file %s ran in a session that an earlier file had changed (-first +%s):\n%s", table,
				table, diff)
		}
	}
}

// The ledger is written in the file's own session and transaction, whatever the file has set.
func TestAFileWithoutASearchPathIsRecorded(t *testing.T) {
	url := pgtest.Start(t)
	for _, source := range []string{"control-plane", "gateway", "browser", "sandbox"} {
		apply(t, url, hook.Migration{Source: source, Dir: dirOf(t, files{
			"001_dump.sql": "SELECT pg_catalog.set_config('search_path', '', false); SET client_encoding = 'UTF8';",
		})})
	}
	for _, ledger := range []string{"public", "browser", "sandbox"} {
		if len(ids(t, url, ledger+".schema_migrations")) == 0 {
			t.Errorf("the ledger of schema %s is empty", ledger)
		}
	}
}

func dirOf(t *testing.T, content files) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, content)
	return dir
}
