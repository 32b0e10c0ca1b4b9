package preflight

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeepBridges(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bridge-nf-call-iptables")
	if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := keepBridges(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "0" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMissingThingsAreListedInOrder(t *testing.T) {
	if got := listed([]string{"  b: no", "  a: no"}); got != "  a: no\n  b: no" {
		t.Errorf("got %q", got)
	}
}

func TestForeignRouteNamesNoRouteOfOthers(t *testing.T) {
	// 192.0.2.0/24 and its kin are for documentation: 203.0.113.0/24 is nobody's here.
	none := func(string) bool { return false }
	if err := ForeignRoute("203.0.113.0/24", none); err != nil {
		t.Error(err)
	}
	if err := ForeignRoute("nonsense", none); err == nil {
		t.Error("took nonsense for a network")
	}
}
