package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// named is a testbed of a base directory, with a state directory but no plan.
func named(t *testing.T, base, name string) *Testbed {
	t.Helper()
	tb := testbed(t)
	tb.Base, tb.Name, tb.StateDir = base, name, filepath.Join(base, name)
	if err := os.MkdirAll(tb.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	return tb
}

func noLinks() (map[string]string, error) { return nil, nil }

func TestTestbedsBroughtUpAtOnceGetRangesOfTheirOwn(t *testing.T) {
	base := t.TempDir()
	var (
		group sync.WaitGroup
		plans [plan.Ranges]*plan.Cluster
	)
	for i := range plan.Ranges {
		tb := named(t, base, fmt.Sprintf("t%d", i))
		plans[i] = &plan.Cluster{Name: tb.Name, StateDir: tb.StateDir}
		group.Go(func() {
			if err := tb.reserve(t.Context(), plans[i], noLinks); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	owner := map[int]string{}
	for _, c := range plans {
		if other, used := owner[c.Range]; used {
			t.Errorf("%s and %s both have range %d", other, c.Name, c.Range)
		}
		owner[c.Range] = c.Name
	}

	t.Run("none is left", func(t *testing.T) {
		tb := named(t, base, "late")
		err := tb.reserve(t.Context(), &plan.Cluster{Name: tb.Name, StateDir: tb.StateDir}, noLinks)
		const want = "all 8 ranges of addresses are in use, by the testbeds t0, t1, t2, t3, t4, t5, t6, t7: run testbed --name NAME down"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the range of a testbed that went is free", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(base, owner[4])); err != nil {
			t.Fatal(err)
		}
		tb := named(t, base, "late")
		c := &plan.Cluster{Name: tb.Name, StateDir: tb.StateDir}
		if err := tb.reserve(t.Context(), c, noLinks); err != nil || c.Range != 4 {
			t.Errorf("range %d, %v", c.Range, err)
		}
	})
}

// A testbed of another base directory has a link of its name.
func TestRangeOfAnotherBaseDirectoryIsNotTaken(t *testing.T) {
	tb := named(t, t.TempDir(), "own")
	c := &plan.Cluster{Name: tb.Name, StateDir: tb.StateDir}
	err := tb.reserve(t.Context(), c, func() (map[string]string, error) {
		return map[string]string{"tb-foreign": "198.18.0.0/18", "tb-own": "198.18.64.0/18"}, nil
	})
	if err != nil || c.Range != 1 {
		t.Errorf("range %d, %v", c.Range, err)
	}
}

func TestListNamesTestbedsOnly(t *testing.T) {
	base := t.TempDir()
	named(t, base, "b")
	named(t, base, "a")
	for _, other := range []string{"A", ".x"} {
		if err := os.Mkdir(filepath.Join(base, other), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := List(base)
	if err != nil || strings.Join(got, " ") != "a b" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := List(filepath.Join(base, "none")); err != nil || got != nil {
		t.Errorf("without a base directory: %v, %v", got, err)
	}
}
