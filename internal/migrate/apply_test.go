package migrate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func ids(t *testing.T, url, ledger string) []string {
	t.Helper()
	return query[string](t, open(t, url, "test"), "SELECT id FROM "+ledger+" ORDER BY id")
}

func TestFreshInstall(t *testing.T) {
	url := pgtest.Start(t)
	folders := allFolders(t)
	if result := apply(t, url, folders...); len(result.Applied) != 5 {
		t.Errorf("applied %v", result.Applied)
	}
	want := []string{"001_init", "115_system_user", "116_sessions", "channel_001_init"}
	if diff := cmp.Diff(want, ids(t, url, "public.schema_migrations")); diff != "" {
		t.Errorf("public ledger: %s", diff)
	}
	if diff := cmp.Diff([]string{"001_init"}, ids(t, url, "sandbox.schema_migrations")); diff != "" {
		t.Errorf("sandbox ledger: %s", diff)
	}
	before := state(t, url)
	if result := apply(t, url, folders...); len(result.Applied) != 0 || result.String() != "the schema was up to date" {
		t.Errorf("a second run applied %v", result.Applied)
	}
	if diff := cmp.Diff(before, state(t, url)); diff != "" {
		t.Errorf("a second run changed: %s", diff)
	}
	conn := open(t, url, "test")
	recorded := query[string](t, conn, "SELECT result->'applied'->0->>'id' FROM neutree.migration_sets WHERE set_hash = '"+testSet+"'")
	if diff := cmp.Diff([]string{"001_init"}, recorded); diff != "" {
		t.Errorf("the record of what the first run applied: %s", diff)
	}
}

// The services make their ledgers themselves where they start first; ours must not differ.
func TestLedgerIsThePlatforms(t *testing.T) {
	ours, theirs := pgtest.Start(t), pgtest.Start(t)
	apply(t, ours, folder(t, "control-plane", nil))
	exec(t, open(t, theirs, "service"), `CREATE TABLE IF NOT EXISTS public.schema_migrations (
		id TEXT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT NOW())`)
	const columns = `SELECT format('%s %s %s %s', column_name, data_type, is_nullable, column_default)
		FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'schema_migrations'
		UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename = 'schema_migrations' ORDER BY 1`
	if diff := cmp.Diff(query[string](t, open(t, theirs, "test"), columns), query[string](t, open(t, ours, "test"), columns)); diff != "" {
		t.Error(diff)
	}
}

func TestOldLedger(t *testing.T) {
	url := pgtest.Start(t)
	old := files{}
	for n := 117; n <= 120; n++ {
		old[fmt.Sprintf("%d_step.sql", n)] = fmt.Sprintf("CREATE TABLE step%d (id int);", n)
	}
	apply(t, url, folder(t, "control-plane", old), folder(t, "gateway", nil))
	conn := open(t, url, "test")
	exec(t, conn, "INSERT INTO schema_migrations (id) SELECT to_char(n, 'FM000') || '_before_the_squash' FROM generate_series(2, 114) n")

	old["121_next.sql"] = "CREATE TABLE step121 (id int);"
	result := apply(t, url, folder(t, "control-plane", old), folder(t, "gateway", nil))
	if len(result.Applied) != 1 || result.Applied[0].ID != "121_next" {
		t.Errorf("applied %v, want 121_next alone", result.Applied)
	}
	if len(result.Ahead) != 0 {
		t.Errorf("ids from before the squash count as ahead: %v", result.Ahead)
	}
}

func TestLedgerAheadIsTolerated(t *testing.T) {
	url := pgtest.Start(t)
	folders := []hook.Migration{folder(t, "control-plane", nil), folder(t, "gateway", nil)}
	apply(t, url, folders...)
	exec(t, open(t, url, "test"), "INSERT INTO schema_migrations (id) VALUES ('140_of_a_newer_release'), ('channel_002_newer')")
	m, said := migrator(url)
	result, err := m.Apply(t.Context(), testSet, folders)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"public.schema_migrations 140_of_a_newer_release", "public.schema_migrations channel_002_newer"}
	if diff := cmp.Diff(want, result.Ahead); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(said.String(), "a newer release has run on this database") {
		t.Errorf("no warning in: %s", said)
	}
}

func TestEveryFileHasItsOwnSettings(t *testing.T) {
	url := pgtest.Start(t)
	const observe = `CREATE TABLE %s AS SELECT current_setting('search_path') AS path,
		current_setting('lock_timeout') AS lock_timeout,
		coalesce(current_setting('app.credential_encryption_key', true), '') AS key;`
	m, said := migrator(url)
	m.CredentialKey = "it's the credential key"
	_, err := m.Apply(t.Context(), testSet, []hook.Migration{
		folder(t, "control-plane", files{"117_observe.sql": fmt.Sprintf(observe, "seen_by_cp")}),
		folder(t, "gateway", files{"002_observe.sql": fmt.Sprintf(observe, "channel.seen")}),
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := open(t, url, "test")
	const row = "SELECT path || '|' || lock_timeout || '|' || key FROM "
	if got := query[string](t, conn, row+"seen_by_cp")[0]; got != `"$user", public|3s|it's the credential key` {
		t.Errorf("control plane's file saw %s", got)
	}
	if got := query[string](t, conn, row+"channel.seen")[0]; got != `"$user", public|3s|` {
		t.Errorf("gateway's file saw %s", got)
	}
	if strings.Contains(said.String(), m.CredentialKey) {
		t.Errorf("the key is in the log: %s", said)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	url := pgtest.Start(t)
	before := pgtest.Dump(t, url)
	m, _ := migrator(url)
	plan, err := m.Plan(t.Context(), allFolders(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, pgtest.Dump(t, url)); diff != "" {
		t.Errorf("the plan changed: %s", diff)
	}
	var table, json strings.Builder
	if err := plan.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := plan.WriteJSON(&json); err != nil {
		t.Fatal(err)
	}
	wantTable := `SOURCE         FILE                 LEDGER                     ID
control-plane  001_init.sql         public.schema_migrations   001_init
control-plane  115_system_user.sql  public.schema_migrations   115_system_user
control-plane  116_sessions.sql     public.schema_migrations   116_sessions
gateway        001_init.sql         public.schema_migrations   channel_001_init
sandbox        001_init.sql         sandbox.schema_migrations  001_init
5 to apply, 0 applied before
`
	if diff := cmp.Diff(wantTable, table.String()); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(json.String(), `"id": "channel_001_init"`) || !strings.Contains(json.String(), `"applied": 0`) {
		t.Error(json.String())
	}
}

func TestFilesRunInThePlatformsOrder(t *testing.T) {
	url := pgtest.Start(t)
	// JavaScript sorts by UTF-16: U+1F600 is a pair of surrogates there, and those sort before U+FF5E.
	extra := files{}
	for _, name := range []string{"117_b.sql", "117.sql", "117_B.sql", "99_late.sql", "200_\U0001F600.sql", "200_\uFF5E.sql"} {
		extra[name] = "SELECT 1;"
	}
	result := apply(t, url, folder(t, "control-plane", extra))
	var got []string
	for _, a := range result.Applied {
		got = append(got, a.ID)
	}
	want := []string{"001_init", "115_system_user", "116_sessions", "117", "117_B", "117_b", "200_\U0001F600", "200_\uFF5E", "99_late"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadFolders(t *testing.T) {
	empty := t.TempDir()
	double := folder(t, "gateway", nil)
	for name, c := range map[string]struct {
		folders []hook.Migration
		parts   []string
	}{
		"empty":          {[]hook.Migration{{Source: "gateway", Dir: empty}}, []string{"holds no .sql file", "/app/channel-gateway/migrations", "global.images.gateway"}},
		"missing":        {[]hook.Migration{{Source: "control-plane", Dir: empty + "/none"}}, []string{"no such file", "/app/migrations", "global.images.controlPlane"}},
		"unknown source": {[]hook.Migration{{Source: "gatway", Dir: empty}}, []string{`no migration source "gatway"`, "control-plane, gateway, sandbox, browser"}},
		"same id twice":  {[]hook.Migration{double, double}, []string{`would both be "channel_001_init"`}},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := migrator("postgresql://nobody@localhost:1/none")
			_, err := m.Plan(t.Context(), c.folders)
			wantFailure(t, err, hook.Usage, c.parts...)
		})
	}
}

func TestSomebodyElseAppliesTheSameFile(t *testing.T) {
	url := pgtest.Start(t)
	// The file does what a service does that migrates at the same time: it writes the ledger.
	race := folder(t, "control-plane", files{"117_race.sql": "INSERT INTO public.schema_migrations (id) VALUES ('117_race'); COMMIT; BEGIN;"})
	m, said := migrator(url)
	if _, err := m.Apply(t.Context(), testSet, []hook.Migration{race}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "somebody else applied a migration at the same time") {
		t.Error(said.String())
	}
	if !slices.Contains(ids(t, url, "public.schema_migrations"), "117_race") {
		t.Error("the ledger lacks the file")
	}
}
