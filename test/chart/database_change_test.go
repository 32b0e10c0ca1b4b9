package chart_test

import (
	"fmt"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// The hook that changes the database before a rollout may change that Cluster and no other, and stops services only where
// a new major version of PostgreSQL is allowed.
func TestPrepareMayChangeTheCluster(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		objects := render(t, fmt.Sprintf("global.upgrade.allowMajorUpgrade=%v", allowed)).Objects
		account := jobs(t, objects)["prepare"].spec().ServiceAccountName
		role := find[*rbacv1.Role](t, ours(objects), namespace, account)
		changes, stops := false, false
		for _, rule := range role.Rules {
			changes = changes || slices.Contains(rule.Resources, "clusters") && slices.Contains(rule.Verbs, "patch") &&
				slices.Equal(rule.ResourceNames, []string{prefix + "-pg"})
			stops = stops || slices.Contains(rule.Resources, "deployments/scale") && slices.Equal(rule.Verbs,
				[]string{"patch"}) &&
				slices.Contains(rule.ResourceNames, prefix+"-cp") && slices.Contains(rule.ResourceNames, "afs-controller")
		}
		if !changes || stops != allowed {
			t.Errorf("with major upgrades allowed %v: it may change the Cluster: %v, stop services: %v", allowed, changes, stops)
		}
		if got := prepareSpec(t, objects).Gate.Allow.MajorUpgrade; got != allowed {
			t.Errorf("a major upgrade is allowed: %v, want %v", got, allowed)
		}
	}
}

// The data of an installation keeps its major version when only the chart's own image is newer.
func TestTheChartSaysWhichImageOfPostgreSQLIsItsOwn(t *testing.T) {
	for _, tc := range []struct {
		set  []string
		want bool
	}{
		{nil, true},
		{[]string{"global.imageRegistry=registry.example.com"}, true},
		{[]string{"global.images.postgresql.tag=18.1"}, false},
		{[]string{"global.images.postgresql.repository=ours/postgresql"}, false},
	} {
		gate := prepareSpec(t, render(t, tc.set...).Objects).Gate
		if gate.DefaultImage != tc.want {
			t.Errorf("%v: the image is the chart's own: %v, want %v", tc.set, gate.DefaultImage, tc.want)
		}
	}
}

// A pod is tried only where the hook has the right to: else the API server's log has a refusal for each install.
func TestNoPodIsTriedWhereTheReleaseMakesTheNamespace(t *testing.T) {
	var only []string
	for _, check := range prepareSpec(t, render(t).Objects).Guard.PodSecurity {
		if check.LabelsOnly {
			only = append(only, check.Namespace)
		}
	}
	if !slices.Equal(only, []string{"nap-workspaces"}) {
		t.Errorf("by labels alone are judged %v, want the namespace that the release makes", only)
	}
}
