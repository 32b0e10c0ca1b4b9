package bed_test

import (
	"slices"
	"testing"

	"github.com/neutree-ai/packaging/test/clustertest/internal/bed"
	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
)

func TestNumber(t *testing.T) {
	for _, tc := range []struct {
		cores    int
		gigabyte uint64
		want     int
	}{
		{cores: 2, gigabyte: 22, want: 3}, {cores: 2, gigabyte: 10, want: 2}, {cores: 2, gigabyte: 6, want: 1},
		{cores: 1, gigabyte: 3, want: 1}, {cores: 4, gigabyte: 14, want: 3}, {cores: 4, gigabyte: 60, want: 6},
		{cores: 1, gigabyte: 60, want: 1}, {cores: 64, gigabyte: 500, want: 6},
	} {
		if got := bed.Number(tc.cores, tc.gigabyte<<30); got != tc.want {
			t.Errorf("%d cores and %d GiB: %d, want %d", tc.cores, tc.gigabyte, got, tc.want)
		}
	}
	if available, err := bed.Available(); err != nil || available == 0 {
		t.Errorf("this machine: %d, %v", available, err)
	}
}

func TestFits(t *testing.T) {
	plain := bed.For(catalog.Needs{}, 3)
	for _, tc := range []struct {
		shape bed.Shape
		needs catalog.Needs
		want  bool
	}{
		{plain, catalog.Needs{}, true},
		{plain, catalog.Needs{Nodes: 3}, true},
		{plain, catalog.Needs{Nodes: 1}, false},
		{plain, catalog.Needs{Audit: true}, false},
		{plain, catalog.Needs{NoPolicies: true}, false},
		{plain, catalog.Needs{NoPolicies: true, None: true}, true},
		{bed.For(catalog.Needs{Audit: true}, 3), catalog.Needs{}, true},
		{bed.For(catalog.Needs{NoPolicies: true}, 3), catalog.Needs{}, false},
		{bed.For(catalog.Needs{Nodes: 1}, 3), catalog.Needs{}, true},
	} {
		if got := tc.shape.Fits(tc.needs); got != tc.want {
			t.Errorf("%+v on %+v: %t", tc.needs, tc.shape, got)
		}
	}
}

func TestEnvironment(t *testing.T) {
	one := bed.Bed{Name: "t2", Kubeconfig: "/state/t2/kubeconfig", Shape: bed.For(catalog.Needs{Audit: true}, 3)}
	want := []string{
		"KUBECONFIG=/state/t2/kubeconfig", "NEUTREE_TESTBED_NAME=t2", "NETWORK_POLICIES=true", "AUDIT_LOG=/state/t2/members/hub/log/audit.log",
	}
	if got := one.Environment(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (&bed.Bed{Kubeconfig: "/mine"}).Environment(); !slices.Equal(got, []string{"KUBECONFIG=/mine"}) {
		t.Errorf("a user's own cluster: %q", got)
	}
}
