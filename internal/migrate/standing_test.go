package migrate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// named is a folder with the name of its set.
func named(m hook.Migration, set string) hook.Migration {
	m.Set = set
	return m
}

func compare(t *testing.T, url string, folders ...hook.Migration) migrate.Standing {
	t.Helper()
	standing, err := migrate.Compare(t.Context(), url, folders)
	if err != nil {
		t.Fatal(err)
	}
	if standing.Server < migrate.OldestServer {
		t.Errorf("the server is PostgreSQL %d", standing.Server)
	}
	// That of the machine is the same everywhere.
	standing.Server = 0
	return standing
}

func TestCompare(t *testing.T) {
	url := pgtest.Start(t)
	cp, gateway := named(folder(t, "control-plane", nil), "cp-1"), named(folder(t, "gateway", nil), "gateway-1")
	if diff := cmp.Diff(migrate.Standing{Empty: true, Unknown: []string{"control-plane", "gateway"}}, compare(t, url, cp, gateway)); diff != "" {
		t.Errorf("an empty database (-want +got):\n%s", diff)
	}
	apply(t, url, cp, gateway)
	if diff := cmp.Diff(migrate.Standing{}, compare(t, url, cp, gateway)); diff != "" {
		t.Errorf("after these images (-want +got):\n%s", diff)
	}
	newer := named(folder(t, "control-plane", files{"141_add.sql": "SELECT 1;", "142_drop.sql": "SELECT 1;"}), "cp-2")
	apply(t, url, newer, gateway)
	exec(t, open(t, url, "test"), "INSERT INTO neutree.breaking_migrations VALUES ('142_drop')")
	want := migrate.Standing{Ahead: []string{"public.schema_migrations 141_add", "public.schema_migrations 142_drop"}, Breaking: []string{"142_drop"}}
	if diff := cmp.Diff(want, compare(t, url, cp, gateway)); diff != "" {
		t.Errorf("after newer images (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(migrate.Standing{}, compare(t, url, newer, gateway)); diff != "" {
		t.Errorf("the newer images themselves (-want +got):\n%s", diff)
	}
	// Images that never migrated this database may know of anything, but hardly of what breaks others.
	want = migrate.Standing{Unknown: []string{"control-plane"}, Breaking: []string{"142_drop"}}
	if diff := cmp.Diff(want, compare(t, url, named(cp, "cp-0"))); diff != "" {
		t.Errorf("unknown images (-want +got):\n%s", diff)
	}
}

func TestOlderImagesAreRefusedBeforeAnythingChanges(t *testing.T) {
	url := pgtest.Start(t)
	apply(t, url, folder(t, "control-plane", files{"141_add.sql": "SELECT 1;"}))
	before := state(t, url)
	m, _ := migrator(url)
	m.RefuseAhead = true
	_, err := m.Apply(t.Context(), "older", []hook.Migration{folder(t, "control-plane", nil), folder(t, "gateway", nil)})
	wantFailure(t, err, hook.Refused, "older than the database", "141_add", "global.upgrade.allowOlderImages=true")
	if diff := cmp.Diff(before, state(t, url)); diff != "" {
		t.Errorf("the database changed:\n%s", diff)
	}
}

func TestUnlessPending(t *testing.T) {
	url := pgtest.Start(t)
	m, _ := migrator(url)
	m.UnlessPending = true
	_, err := m.Apply(t.Context(), testSet, []hook.Migration{folder(t, "gateway", nil)})
	wantFailure(t, err, hook.Pending, "1 migrations to apply", "001_init")
	if strings.Contains(state(t, url), "channel") {
		t.Error("it was applied")
	}
	apply(t, url, folder(t, "gateway", nil))
	if _, err := m.Apply(t.Context(), "next", []hook.Migration{folder(t, "gateway", nil)}); err != nil {
		t.Error(err)
	}
}
