package chart_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Whatever migrates reads Helm's record, and may read nothing else there: an older revision's rollback can't stop it.
func TestUpgradesEndWithTheirRevision(t *testing.T) {
	record := []string{"sh.helm.release.v1.neutree.v7", "sh.helm.release.v1.neutree.v8"}
	for _, tc := range []struct {
		revision int
		watched  string
	}{
		{7, "nap/neutree/7"},
		// The first has nothing to go back to, and a sync of ArgoCD always has this number.
		{1, ""},
	} {
		t.Run(fmt.Sprint(tc.revision), func(t *testing.T) {
			objects := renderFor(t, target{upgrade: tc.revision > 1, revision: tc.revision}).Objects
			spec := prepareSpec(t, objects)
			if spec.Revision != tc.watched {
				t.Errorf("prepare watches %q, want %q", spec.Revision, tc.watched)
			}
			if want := []string{"nap-pull", "nap-migrate", "nap-seed", "nap-backup"}; tc.watched != "" && !slices.Equal(spec.Stop, want) {
				t.Errorf("prepare stops %v, want %v", spec.Stop, want)
			}
			migrate := jobs(t, objects)["migrate"]
			args := migrate.spec().Containers[0].Args
			if got := slices.Contains(args, "--while-pending="+tc.watched); got != (tc.watched != "") {
				t.Errorf("%s: args = %q", migrate.from, args)
			}
			if migrate.spec().ServiceAccountName != "nap-migrate" ||
				*migrate.spec().AutomountServiceAccountToken != (tc.watched != "") {
				t.Errorf("%s: ServiceAccount %s, token %v", migrate.from, migrate.spec().ServiceAccountName,
					*migrate.spec().AutomountServiceAccountToken)
			}
			find[*corev1.ServiceAccount](t, objects, namespace, "nap-migrate")
			var readers []string
			for _, object := range objects {
				role, ok := typed(t, object).(*rbacv1.Role)
				if !ok {
					continue
				}
				for _, rule := range role.Rules {
					if slices.ContainsFunc(rule.ResourceNames, func(name string) bool {
						return strings.HasPrefix(name,
							"sh.helm.release")
					}) {
						readers = append(readers, role.Name)
						if !slices.Equal(rule.ResourceNames, record) || !slices.Equal(rule.Verbs, []string{"get"}) {
							t.Errorf("%s: %v", object, rule)
						}
					}
				}
				if role.Name == "nap-migrate" && len(role.Rules) != 1 {
					t.Errorf("%s has %d rules", object, len(role.Rules))
				}
			}
			slices.Sort(readers)
			if want := []string{"nap-migrate", "nap-pre-install"}; tc.watched != "" && !slices.Equal(readers, want) ||
				tc.watched == "" && len(readers) > 0 {
				t.Errorf("the record is read by %v", readers)
			}
		})
	}
}

// The name of the bootstrap Job depends on its content, so that it runs again only when that changes.
func TestRevisionIsNoPartOfBootstrap(t *testing.T) {
	one := bootstrapJob(t, renderFor(t, target{upgrade: true, revision: 6}).Objects)
	next := bootstrapJob(t, renderFor(t, target{upgrade: true, revision: 7}).Objects)
	if one.from.GetName() != next.from.GetName() {
		t.Errorf("it is %s, and %s with the next upgrade", one.from.GetName(), next.from.GetName())
	}
}

// What is rolled back to stops the upgrade, and what it says reaches a person also when it lets the rollback pass.
func TestRollbackStopsWhatUpgradesRun(t *testing.T) {
	objects := renderAll(t).Objects
	if spec := specOf[hook.RollbackSpec](t, objects, "nap-rollback-spec", "rollback"); spec.Prefix != "nap" ||
		spec.Release != "neutree" {
		t.Errorf("spec %+v", spec)
	}
	job := podOf(t, objects, "Job", "nap-rollback")
	if got := job.from.GetAnnotations()["helm.sh/hook-output-log-policy"]; got != "hook-succeeded,hook-failed" {
		t.Errorf("%s: helm.sh/hook-output-log-policy = %q", job.from, got)
	}
	var hooks []string
	for _, job := range platform.HookJobs() {
		if job.Upgrades && !job.Stays && job.Name != platform.Bootstrap {
			hooks = append(hooks, "nap-"+job.Name)
		}
	}
	if len(hooks) == 0 {
		t.Fatal("an upgrade has no hooks")
	}
	for _, name := range []string{"nap-rollback", "nap-teardown"} {
		role := find[*rbacv1.Role](t, objects, namespace, name)
		may := func(verb string, names []string) bool {
			return slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.Resources, "jobs") && slices.Contains(rule.Verbs, verb) &&
					slices.Equal(rule.ResourceNames, names)
			})
		}
		if !may("list", nil) || !may("get", nil) || !may("delete", nil) || !may("patch", hooks) || may("patch", nil) ||
			may("create", nil) {
			t.Errorf("Role %s: rules %v; want it to list and delete Jobs, and to patch %v alone", name, role.Rules, hooks)
		}
	}
}
