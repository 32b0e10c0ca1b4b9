package chart_test

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/release"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

var phases = []release.HookEvent{
	release.HookPreInstall, release.HookPostInstall, release.HookPreUpgrade, release.HookPostUpgrade,
	release.HookPreRollback, release.HookPostRollback, release.HookPreDelete, release.HookPostDelete,
}

func TestHookOrder(t *testing.T) {
	rendered := render(t)
	want := map[release.HookEvent][]string{
		release.HookPreInstall:  {"guard", "prepare"},
		release.HookPreUpgrade:  {"guard", "prepare"},
		release.HookPreRollback: {"rollback"},
		release.HookPostInstall: {"seed"},
		release.HookPostUpgrade: {"seed"},
		release.HookPreDelete:   {"teardown"},
	}
	for _, phase := range phases {
		var got []string
		weights := map[int]chart.Object{}
		for _, object := range rendered.Hooks(phase) {
			if other, taken := weights[object.Hook.Weight]; taken && other.Hook != object.Hook {
				t.Errorf("%s: on %s it shares the weight %d with %s, so their order hangs on their names", object, phase, object.Hook.Weight, other)
			}
			weights[object.Hook.Weight] = object
			if object.GetKind() == "Job" {
				got = append(got, pods(t, []chart.Object{object})[0].spec().Containers[0].Args[0])
			}
		}
		if !slices.Equal(got, want[phase]) {
			t.Errorf("on %s the Jobs run %v, want %v", phase, got, want[phase])
		}
	}
}

// An install into a cluster that has nothing of the release needs no Job of its own for the checks: the one that makes the
// Secrets ends soon, too.
func TestFirstInstallHasOneJobBefore(t *testing.T) {
	has := func(more ...string) func(chart.Lookup) map[string]any {
		there := append(more, "Namespace/kube-system", "CustomResourceDefinition/clusters.postgresql.cnpg.io")
		return func(asked chart.Lookup) map[string]any {
			if slices.Contains(there, asked.Kind+"/"+asked.Name) {
				return map[string]any{"metadata": map[string]any{"name": asked.Name}}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		to    target
		short bool
	}{
		"nothing is there":             {target{answer: has()}, true},
		"the data of an earlier one":   {target{answer: has("ConfigMap/nap-storage")}, false},
		"a database recovered by hand": {target{answer: has("Cluster/nap-pg"), apis: []string{"postgresql.cnpg.io/v1"}}, false},
		"one whose record is lost":     {target{answer: has("Deployment/nap-cp")}, false},
		"an upgrade":                   {target{answer: has(), upgrade: true, revision: 2}, false},
		"no cluster to ask":            {target{}, false},
		"a database from outside":      {target{answer: has(), set: external}, false},
	} {
		jobs := jobs(t, renderFor(t, c.to).Objects)
		_, guarded := jobs["guard"]
		prepare := jobs["prepare"]
		seconds, retries := *prepare.spec().ActiveDeadlineSeconds, *typed(t, prepare.from).(*batchv1.Job).Spec.BackoffLimit
		if guarded == c.short || (seconds < 900) != c.short || (retries == 0) != c.short {
			t.Errorf("%s: a guard runs first: %t; prepare may take %d s and is tried %d times more", name, guarded, seconds, retries)
		}
	}
}

func TestHooksCleanUpAfterThemselves(t *testing.T) {
	want := []release.HookDeletePolicy{release.HookBeforeHookCreation, release.HookSucceeded}
	for _, object := range render(t).Objects {
		if object.Hook != nil && !slices.Equal(object.Hook.DeletePolicies, want) {
			t.Errorf("%s: helm.sh/hook-delete-policy = %v, want %v", object, object.Hook.DeletePolicies, want)
		}
	}
}

// People read what Helm prints of its hooks' logs. The Jobs that stay are for those who collect logs.
func TestHooksLogForPeople(t *testing.T) {
	for _, object := range ours(renderAll(t).Objects) {
		job, ok := typed(t, object).(*batchv1.Job)
		if !ok {
			continue
		}
		args := job.Spec.Template.Spec.Containers[0].Args
		if plain := slices.Contains(args, "--log-format=plain"); plain != (object.Hook != nil) {
			t.Errorf("%s: args = %q", object, args)
		}
	}
}

// What holds data would be deleted with the hook, and is neither kept nor upgraded.
func TestHooksHoldNoData(t *testing.T) {
	for _, object := range render(t).Objects {
		if object.Hook == nil {
			continue
		}
		switch object.GetKind() {
		case "Job", "ServiceAccount", "ConfigMap", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "NetworkPolicy":
		case "Secret":
			// What Helm applies, for the API server to judge: its environment may hold what must not be in a ConfigMap.
			if object.GetName() != "nap-pre-install-workloads" {
				t.Errorf("%s: a hook of this kind", object)
			}
		default:
			t.Errorf("%s: a hook of this kind", object)
		}
	}
}

// permanent are the exit codes that no retry would change.
var permanent = []int32{int32(hook.Usage), int32(hook.Refused), int32(hook.MigrationFailed), int32(hook.Pending),
	int32(hook.HalfRestored), int32(hook.Deadline)}

func TestJobs(t *testing.T) {
	for _, object := range ours(renderAll(t).Objects) {
		job, ok := typed(t, object).(*batchv1.Job)
		if !ok {
			continue
		}
		t.Run(object.GetName(), func(t *testing.T) {
			p := pod{object, job.Spec.Template}
			if len(p.spec().Containers) != 1 {
				t.Fatalf("%s: has %d containers, want 1", object, len(p.spec().Containers))
			}
			main := p.spec().Containers[0]
			if got := p.spec().RestartPolicy; got != corev1.RestartPolicyNever {
				t.Errorf("%s: restartPolicy = %s, want Never: the log of the failure must stay", object, got)
			}
			retries := int32(2)
			switch {
			case object.Hook == nil:
				// Bootstrap outlives the hooks, and more can befall its pods.
				retries = 6
			case p.spec().Containers[0].Name == "guard", p.spec().Containers[0].Name == "rollback":
				// Where their image can't be pulled they end soon, and they fail for nothing that another pod would not meet.
				retries = 0
			}
			if got := ptr.Deref(job.Spec.BackoffLimit, -1); got != retries {
				t.Errorf("%s: spec.backoffLimit = %d, want %d", object, got, retries)
			}
			if job.Spec.TTLSecondsAfterFinished != nil {
				t.Errorf("%s: spec.ttlSecondsAfterFinished is set: whoever reconciles the chart would make the Job again for ever", object)
			}
			checkFailurePolicy(t, p, job.Spec.PodFailurePolicy, main.Name)
			checkDeadline(t, p, job.Spec.ActiveDeadlineSeconds, main.Args)
			checkTermination(t, p, main)
			if object.Hook != nil && !strings.Contains(object.GetAnnotations()["helm.sh/hook-output-log-policy"], "hook-failed") {
				t.Errorf("%s: helm.sh/hook-output-log-policy = %q, want hook-failed", object, object.GetAnnotations()["helm.sh/hook-output-log-policy"])
			}
		})
	}
}

func checkFailurePolicy(t *testing.T, p pod, policy *batchv1.PodFailurePolicy, main string) {
	t.Helper()
	if policy == nil {
		t.Errorf("%s: spec.podFailurePolicy is missing", p.from)
		return
	}
	var fails, ignores bool
	for _, rule := range policy.Rules {
		switch rule.Action {
		case batchv1.PodFailurePolicyActionFailJob:
			exit := rule.OnExitCodes
			fails = exit != nil && exit.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && slices.Equal(exit.Values, permanent) &&
				exit.ContainerName != nil && *exit.ContainerName == main
		case batchv1.PodFailurePolicyActionIgnore:
			for _, condition := range rule.OnPodConditions {
				ignores = ignores || condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue
			}
		}
	}
	if !fails {
		t.Errorf("%s: spec.podFailurePolicy does not fail the Job on the exit codes %v of container %s", p.from, permanent, main)
	}
	if !ignores {
		t.Errorf("%s: spec.podFailurePolicy does not ignore disruptions", p.from)
	}
}

// checkDeadline sees that the command's own deadline comes first: the Job's deletes the pod and its log.
func checkDeadline(t *testing.T, p pod, active *int64, args []string) {
	t.Helper()
	for _, arg := range args {
		value, ok := strings.CutPrefix(arg, "--timeout=")
		if !ok {
			continue
		}
		own, err := time.ParseDuration(value)
		if err != nil {
			t.Errorf("%s: %s: %v", p.from, arg, err)
		} else if active == nil || time.Duration(*active)*time.Second <= own {
			t.Errorf("%s: spec.activeDeadlineSeconds = %v, want more than %s", p.from, active, arg)
		}
		if p.from.Hook == nil {
			return
		}
		// Once a hook's pod has a node, it has as long as its command and the pull take, and ten minutes to find one.
		onNode := p.spec().ActiveDeadlineSeconds
		if onNode == nil || time.Duration(*onNode)*time.Second <= own || active == nil || *active < *onNode+600 {
			t.Errorf("%s: spec.activeDeadlineSeconds of the pod = %v, of the Job %v", p.from, onNode, active)
		}
		return
	}
	t.Errorf("%s: args %q hold no --timeout", p.from, args)
}

func checkTermination(t *testing.T, p pod, main corev1.Container) {
	t.Helper()
	if path := main.TerminationMessagePath; path != "" && path != "/dev/termination-log" {
		t.Errorf("%s: terminationMessagePath = %s, where nap-hooks does not write", p.from, path)
	}
}

// Hooks see nothing of a release that is not there yet; what runs after it was applied may use what belongs to it.
func TestHooksBringWhatTheyNeed(t *testing.T) {
	rendered := renderAll(t, "global.imagePullSecrets[0].name=regcred")
	for _, phase := range phases {
		brought := map[string]int{} // kind/name to its place in Helm's order
		if phase == release.HookPostInstall || phase == release.HookPostUpgrade {
			for _, object := range rendered.Main() {
				brought[object.GetKind()+"/"+object.GetName()] = math.MinInt
			}
		}
		hooks := rendered.Hooks(phase)
		for place, object := range hooks {
			brought[object.GetKind()+"/"+object.GetName()] = place
		}
		for place, object := range hooks {
			need := func(kind, name string) {
				if its, found := brought[kind+"/"+name]; !found {
					t.Errorf("%s: on %s it needs %s %s, which is no hook of that phase", object, phase, kind, name)
				} else if its >= place {
					t.Errorf("%s: on %s it is created before %s %s, which it needs", object, phase, kind, name)
				}
			}
			switch made := typed(t, object).(type) {
			case *rbacv1.RoleBinding:
				need(made.RoleRef.Kind, made.RoleRef.Name)
				need("ServiceAccount", made.Subjects[0].Name)
			case *rbacv1.ClusterRoleBinding:
				need(made.RoleRef.Kind, made.RoleRef.Name)
				need("ServiceAccount", made.Subjects[0].Name)
			case *batchv1.Job:
				need("ServiceAccount", made.Spec.Template.Spec.ServiceAccountName)
				for _, volume := range made.Spec.Template.Spec.Volumes {
					if volume.ConfigMap != nil {
						need("ConfigMap", volume.ConfigMap.Name)
					}
				}
				for kindName, its := range brought {
					if strings.Contains(kindName, "RoleBinding/") && its >= place {
						t.Errorf("%s: on %s it is created before %s, which may give it its rights", object, phase, kindName)
					}
				}
			}
		}
	}
}

// Helm creates, awaits and deletes one hook after the other, a third of a second each: what Jobs need is one List. Who
// syncs its items one by one finds on each of them what stands on the List.
func TestHooksAreFew(t *testing.T) {
	rendered := renderAll(t, deleteData)
	for _, phase := range append(phases, release.HookTest) {
		others := map[string]bool{}
		for _, object := range rendered.Hooks(phase) {
			if object.GetKind() == "Job" {
				if object.Hook.Name != object.GetName() {
					t.Errorf("%s: on %s it is created together with what it needs", object, phase)
				}
				continue
			}
			others[object.Hook.Name] = true
			annotations := object.GetAnnotations()
			if got := annotations["helm.sh/hook-weight"]; got != strconv.Itoa(object.Hook.Weight) {
				t.Errorf("%s: helm.sh/hook-weight = %q, want that of its List, %d", object, got, object.Hook.Weight)
			}
			if got := annotations["helm.sh/hook"]; !slices.Contains(strings.Split(got, ","), string(phase)) {
				t.Errorf("%s: helm.sh/hook = %q, which lacks %s, one of its List's", object, got, phase)
			}
		}
		if len(others) > 1 {
			t.Errorf("on %s there are %v besides the Jobs, want one hook", phase, slices.Sorted(maps.Keys(others)))
		}
	}
}

func TestMainPhaseHoldsNothingThatCannotBeCreated(t *testing.T) {
	rendered := renderAll(t)
	claims := map[string]bool{}
	for _, p := range pods(t, ours(rendered.Main())) {
		for _, volume := range p.spec().Volumes {
			if volume.PersistentVolumeClaim != nil {
				claims[namespaceOf(p.from)+"/"+volume.PersistentVolumeClaim.ClaimName] = true
			}
		}
	}
	for _, object := range rendered.Main() {
		if strings.HasPrefix(object.GetAPIVersion(), "postgresql.cnpg.io/") {
			t.Errorf("%s: the release is built before its kind exists", object)
		}
		if name := namespaceOf(object) + "/" + object.GetName(); object.GetKind() == "PersistentVolumeClaim" && !claims[name] {
			t.Errorf("%s: no pod of the release mounts it, so it may never be bound and --wait hangs", object)
		}
		if object.GetKind() == "Secret" {
			t.Errorf("%s: its content would stand in the release, and change with each render", object)
		}
	}
	if len(claims) == 0 {
		t.Errorf("no pod mounts a claim")
	}
}

func TestDataOutlivesTheRelease(t *testing.T) {
	kept := map[string]bool{}
	for _, object := range render(t, "cloudnative-pg.crds.create=true").Main() {
		switch object.GetKind() {
		case "PersistentVolumeClaim", "Namespace", "CustomResourceDefinition":
			kept[object.GetKind()] = true
			if got := object.GetAnnotations()["helm.sh/resource-policy"]; got != "keep" {
				t.Errorf("%s: annotation helm.sh/resource-policy = %q, want keep", object, got)
			}
		}
	}
	if want := []string{"CustomResourceDefinition", "Namespace", "PersistentVolumeClaim"}; !slices.Equal(slices.Sorted(maps.Keys(kept)), want) {
		t.Errorf("rendered kinds that hold data are %v, want %v", slices.Sorted(maps.Keys(kept)), want)
	}
}

// Flux's helm-controller crashes where it is to print the log of a hook. So the Job of a rollback that passes stays for
// a week, for people who read its warnings, and the other Jobs go as elsewhere.
func TestNoLogIsPrintedWhereFluxMayInstall(t *testing.T) {
	for _, object := range renderFor(t, target{apis: []string{"helm.toolkit.fluxcd.io/v2"}}).Objects {
		if policy := object.GetAnnotations()["helm.sh/hook-output-log-policy"]; policy != "" {
			t.Errorf("%s: helm.sh/hook-output-log-policy = %q", object, policy)
		}
		if object.GetKind() != "Job" || object.Hook == nil {
			continue
		}
		job, want, ttl := typed(t, object).(*batchv1.Job), "before-hook-creation,hook-succeeded", int32(0)
		if object.GetName() == "nap-rollback" {
			want, ttl = "before-hook-creation", 7*24*60*60
		}
		got := job.Annotations["helm.sh/hook-delete-policy"]
		if left := ptr.Deref(job.Spec.TTLSecondsAfterFinished, 0); got != want || left != ttl {
			t.Errorf("%s: hook-delete-policy %s, ttlSecondsAfterFinished %d, want %s, %d", object, got, left, want, ttl)
		}
	}
}

// An upgrade runs the seeds once more after it only where something may be left for them.
func TestSeedsAfterAnUpgrade(t *testing.T) {
	seeds := find[*corev1.ConfigMap](t, render(t).Objects, namespace, "nap-seed").Data["seed.yaml"]
	live := func(status, seeds string, ready int64) func(chart.Lookup) map[string]any {
		return func(asked chart.Lookup) map[string]any {
			switch {
			case asked.Kind == "Secret" && asked.Name == "sh.helm.release.v1."+releaseName+".v6":
				return map[string]any{"metadata": map[string]any{"labels": map[string]any{"status": status}}}
			case asked.Kind == "ConfigMap" && asked.Name == "nap-seed":
				return map[string]any{"data": map[string]any{"seed.yaml": seeds}}
			case asked.Kind == "Deployment" && asked.Name == "nap-cp":
				return map[string]any{"status": map[string]any{"readyReplicas": ready}}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		to   target
		runs bool
	}{
		"nothing is left":          {target{answer: live("deployed", seeds, 1)}, false},
		"the last upgrade failed":  {target{answer: live("failed", seeds, 1)}, true},
		"other seeds":              {target{answer: live("deployed", seeds+"x", 1)}, true},
		"a platform that is down":  {target{answer: live("deployed", seeds, 0)}, true},
		"no cluster to ask":        {target{}, true},
		"another display name now": {target{answer: live("deployed", seeds, 1), set: []string{"global.admin.displayName=Root"}}, true},
	} {
		c.to.upgrade, c.to.revision = true, 7
		seeded := func(object chart.Object) bool { return object.GetKind() == "Job" && object.GetName() == "nap-seed" }
		rendered := renderFor(t, c.to)
		if runs := slices.ContainsFunc(rendered.Hooks(release.HookPostUpgrade), seeded); runs != c.runs {
			t.Errorf("%s: it runs after the upgrade: %t, want %t", name, runs, c.runs)
		}
		if !slices.ContainsFunc(rendered.Hooks(release.HookPostInstall), seeded) {
			t.Errorf("%s: it does not run after an install", name)
		}
	}
}
