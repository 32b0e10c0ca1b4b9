package migrate_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/platform"
)

// ofSource is a folder of one migration, with others added.
func ofSource(t *testing.T, source, set string, extra files) hook.Migration {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files{"001_init.sql": "SELECT 1;"})
	write(t, dir, extra)
	return hook.Migration{Source: source, Dir: dir, Set: set}
}

// Sources share ledgers and tell their ids apart by prefixes, so no source may be left out of a comparison: each is
// ahead by its own ids, and by no others.
func TestEverySourceIsComparedWithItsLedger(t *testing.T) {
	for _, source := range platform.MigrationSources() {
		t.Run(source.Name, func(t *testing.T) {
			url := pgtest.Start(t)
			var all, others []hook.Migration
			for _, s := range platform.MigrationSources() {
				one := ofSource(t, s.Name, s.Name+"-1", nil)
				all = append(all, one)
				if s.Name != source.Name {
					others = append(others, one)
				}
			}
			apply(t, url, all...)
			added := files{"141_add.sql": "SELECT 1;", "142_drop.sql": "SELECT 1;"}
			apply(t, url, ofSource(t, source.Name, source.Name+"-2", added))
			add, drop := source.IDPrefix+"141_add", source.IDPrefix+"142_drop"
			exec(t, open(t, url, "test"), "INSERT INTO neutree.breaking_migrations VALUES ('"+drop+"')")

			ahead := []string{source.Ledger() + " " + add, source.Ledger() + " " + drop}
			want := migrate.Standing{Ahead: ahead, Breaking: []string{drop}}
			if diff := cmp.Diff(want, compare(t, url, all...)); diff != "" {
				t.Errorf("all sources (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(migrate.Standing{}, compare(t, url, others...)); diff != "" {
				t.Errorf("the other sources (-want +got):\n%s", diff)
			}

			m, _ := migrator(url)
			plan, err := m.Plan(t.Context(), all)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ahead, plan.Ahead); diff != "" {
				t.Errorf("the plan (-want +got):\n%s", diff)
			}
			ledgers := map[string][]string{source.Ledger(): {source.IDPrefix + "001_init", add, drop}}
			got, err := migrate.Ahead(ledgers, all)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ahead, got); diff != "" {
				t.Errorf("the ledgers of a backup (-want +got):\n%s", diff)
			}

			// Images that never ran here and lack these files are older.
			m.RefuseAhead = true
			older := append(others, ofSource(t, source.Name, source.Name+"-0", nil))
			_, err = m.Apply(t.Context(), "older", older)
			wantFailure(t, err, hook.Refused, ahead[0], ahead[1], "global.upgrade.allowOlderImages=true")
		})
	}
}

// A comparison by the name of a set finds the ids of that set, not those of whatever is recorded too.
func TestComparedWithItsOwnSet(t *testing.T) {
	url := pgtest.Start(t)
	older := ofSource(t, "gateway", "gateway-1", nil)
	newer := ofSource(t, "gateway", "gateway-2", files{"002_add.sql": "SELECT 1;"})
	apply(t, url, older)
	apply(t, url, newer)
	if err := os.Remove(filepath.Join(older.Dir, "001_init.sql")); err != nil {
		t.Fatal(err)
	}
	want := migrate.Standing{Ahead: []string{"public.schema_migrations channel_002_add"}}
	if diff := cmp.Diff(want, compare(t, url, older)); diff != "" {
		t.Errorf("the older set, without its files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(migrate.Standing{}, compare(t, url, newer)); diff != "" {
		t.Errorf("the newer set (-want +got):\n%s", diff)
	}
}
