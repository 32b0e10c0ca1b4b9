package migrate_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func ownerOf(t *testing.T, url string) migrate.Owner {
	t.Helper()
	owner, err := migrate.ReadOwner(t.Context(), open(t, url, "test"))
	if err != nil {
		t.Fatal(err)
	}
	return owner
}

func TestADatabaseBelongsToOneRelease(t *testing.T) {
	url := pgtest.Start(t)
	if owner := ownerOf(t, url); owner.Known() {
		t.Fatalf("a new database belongs to %v", owner)
	}
	nap := migrate.Owner{Release: "neutree", Namespace: "nap", Cluster: "uid-1"}
	for _, step := range []struct {
		what    string
		release migrate.Owner
		adopt   string
		refused []string
	}{
		{"the first release, which may not read the cluster's UID", migrate.Owner{Release: "neutree", Namespace: "nap"}, "",
			nil},
		{"the same, which may read it now", nap, "", nil},
		{"the same again", nap, "", nil},
		{"the same, which may not read it any more", migrate.Owner{Release: "neutree", Namespace: "nap"}, "", nil},
		{"another namespace", migrate.Owner{Release: "neutree", Namespace: "test", Cluster: "uid-1"}, "",
			[]string{"belongs to release neutree in namespace nap", "global.upgrade.adoptDatabase=nap/neutree",
				"overwrite each other's data"}},
		{"another name", migrate.Owner{Release: "other", Namespace: "nap", Cluster: "uid-1"}, "",
			[]string{"belongs to release neutree in namespace nap"}},
		{"another cluster", migrate.Owner{Release: "neutree", Namespace: "nap", Cluster: "uid-2"}, "",
			[]string{"of another Kubernetes cluster (UID of namespace kube-system uid-1)",
				"global.upgrade.adoptDatabase=nap/neutree@uid-1"}},
		{"the wrong previous owner", migrate.Owner{Release: "other", Namespace: "nap"}, "nap/third",
			[]string{"belongs to release neutree"}},
		{"its own name, where that alone would stay true", migrate.Owner{Release: "neutree", Namespace: "nap",
			Cluster: "uid-2"}, "nap/neutree",
			[]string{"of another Kubernetes cluster"}},
		{"the release that it is handed over to", migrate.Owner{Release: "neutree", Namespace: "test", Cluster: "uid-1"},
			"nap/neutree", nil},
		{"the previous owner", nap, "", []string{"belongs to release neutree in namespace test"}},
		{"the new one, whose value is still set", migrate.Owner{Release: "neutree", Namespace: "test", Cluster: "uid-1"},
			"nap/neutree", nil},
	} {
		before := ownerOf(t, url)
		err := migrate.Claim(t.Context(), url, step.release, step.adopt)
		if (hook.CodeOf(err) == hook.Refused) != (step.refused != nil) || step.refused == nil && err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		for _, word := range step.refused {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the reason does not say %q: %v", step.what, word, err)
			}
		}
		if step.refused != nil && (ownerOf(t, url) != before || finding.Of(err)[0].ID != finding.DatabaseOwner) {
			t.Errorf("%s: refused with %v, and the owner is %v", step.what, finding.Of(err).IDs(), ownerOf(t, url))
		}
		if step.refused == nil && !ownerOf(t, url).Is(step.release) {
			t.Errorf("%s: the owner is %v", step.what, ownerOf(t, url))
		}
	}
}

// Two installs on one empty database can't see each other until one of them has claimed it.
func TestOneOfManyClaimsADatabase(t *testing.T) {
	url := pgtest.Start(t)
	errs := make([]error, 8)
	var claiming sync.WaitGroup
	for i := range errs {
		claiming.Go(func() {
			errs[i] = migrate.Claim(t.Context(), url, migrate.Owner{Release: "neutree", Namespace: string(rune('a' + i))}, "")
		})
	}
	claiming.Wait()
	claimed := 0
	for _, err := range errs {
		switch {
		case err == nil:
			claimed++
		case hook.CodeOf(err) != hook.Refused:
			t.Error(err)
		}
	}
	if claimed != 1 {
		t.Errorf("%d releases have claimed the database", claimed)
	}
}

// A database that was empty when a release claimed it is one that this version, or a later one, has set up.
func TestADatabaseRemembersThatItBeganEmpty(t *testing.T) {
	owner := migrate.Owner{Release: "neutree", Namespace: "nap", Cluster: "uid-1"}
	claimed := func(url string) bool {
		t.Helper()
		if err := migrate.Claim(t.Context(), url, owner, ""); err != nil {
			t.Fatal(err)
		}
		standing, err := migrate.Compare(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return standing.New
	}
	fresh := pgtest.Start(t)
	if standing, err := migrate.Compare(t.Context(), fresh, nil); err != nil || standing.New {
		t.Errorf("before it is claimed: %+v, %v", standing, err)
	}
	if !claimed(fresh) {
		t.Error("a database that began empty does not say so")
	}
	const ledger = "CREATE TABLE public.schema_migrations (id text PRIMARY KEY, applied_at timestamptz DEFAULT now()); " +
		"INSERT INTO public.schema_migrations (id) VALUES ('001_init')"
	migrated := func(url string) {
		t.Helper()
		if _, err := open(t, url, "test").Exec(t.Context(), ledger); err != nil {
			t.Fatal(err)
		}
	}
	migrated(fresh)
	if owner.Cluster = "uid-2"; migrate.Claim(t.Context(), fresh, owner, "nap/neutree@uid-1") != nil || !claimed(fresh) {
		t.Error("it forgets that once it belongs to another release")
	}
	used := pgtest.Start(t)
	migrated(used)
	if claimed(used) {
		t.Error("a database with data says that it began empty")
	}
}
