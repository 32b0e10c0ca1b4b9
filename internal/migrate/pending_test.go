package migrate_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// given are the ids in the ledger that fit a condition.
func given(t *testing.T, url, condition string) []string {
	t.Helper()
	return query[string](t, open(t, url, "test"), "SELECT id FROM public.schema_migrations WHERE "+
		""+condition+" ORDER BY id")
}

// A release may be rolled back while its migrations run, by hooks of an older revision that can't stop them.
func TestNothingIsCommittedOnceTheReleaseIsRolledBack(t *testing.T) {
	url := pgtest.Start(t)
	apply(t, url, folder(t, "control-plane", nil))
	before := state(t, url)
	newer := folder(t, "control-plane", files{
		"200_one.sql": "CREATE TABLE one (id int);", "201_two.sql": "CREATE TABLE two (id " +
			"int);", "202_three.sql": "CREATE TABLE three (id int);",
	})
	newer.Set = "newer"
	// Given up while the second file runs: what was committed before stays, and nothing comes after it.
	for _, upTo := range []string{"", "200_one"} {
		t.Run("committed up to "+upTo, func(t *testing.T) {
			m, _ := migrator(url)
			m.StillPending = func(ctx context.Context) error {
				if len(given(t, url, "id = '200_one'")) == 0 && upTo != "" {
					return nil
				}
				return hook.Errorf(hook.Refused, "revision 7 is not being installed any more")
			}
			_, err := m.Apply(t.Context(), "newer-set", []hook.Migration{newer})
			wantFailure(t, err, hook.Refused, "revision 7 is not being installed any more")
			applied := given(t, url, "id LIKE '20%'")
			if got := strings.Join(applied, " "); got != upTo {
				t.Errorf("the migrations %q were committed, want %q", got, upTo)
			}
			if upTo == "" {
				if diff := cmp.Diff(before, state(t, url)); diff != "" {
					t.Errorf("it changed: %s", diff)
				}
			}
			recorded := query[string](t, open(t, url, "test"), "SELECT set_hash FROM neutree.migration_sets WHERE set_hash "+
				"LIKE 'newer%'")
			if len(recorded) > 0 {
				t.Errorf("the sets %v are recorded, so services would start on a schema that is not there", recorded)
			}
		})
	}
	m, _ := migrator(url)
	m.StillPending = func(context.Context) error { return nil }
	result, err := m.Apply(t.Context(), "newer-set", []hook.Migration{newer})
	if err != nil || len(result.Applied) != 2 {
		t.Errorf("the next upgrade applied %v, error %v", result.Applied, err)
	}
}

// A file holds locks, so it does not wait for an answer: it is rolled back and tried again.
func TestFileIsAppliedAgainWhereNobodyAnswers(t *testing.T) {
	url := pgtest.Start(t)
	apply(t, url, folder(t, "control-plane", nil))
	m, said := migrator(url)
	var asked atomic.Int32
	m.StillPending = func(context.Context) error {
		// The first question comes before anything is done, the second before the commit.
		if asked.Add(1) == 2 {
			if tables := query[int64](t, open(t, url, "test"), "SELECT count(*) FROM pg_tables WHERE tablename = "+
				"'one'"); tables[0] != 0 {
				t.Error("it is asked after the commit")
			}
			return errors.New("read Helm's record: etcdserver: leader changed")
		}
		return nil
	}
	result, err := m.Apply(t.Context(), "newer-set", []hook.Migration{folder(t, "control-plane",
		files{"200_one.sql": "CREATE TABLE one (id int);"})})
	if err != nil || len(result.Applied) != 1 || !strings.Contains(said.String(), "leader changed") {
		t.Errorf("applied %v, error %v, log:\n%s", result.Applied, err, said)
	}
}
