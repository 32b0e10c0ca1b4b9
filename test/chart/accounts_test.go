package chart_test

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// everyPod are all pods of the release: those of its objects, and those of the Jobs that hooks and the plugin create
// from what ConfigMaps say.
func everyPod(t *testing.T, objects []chart.Object) []pod {
	t.Helper()
	all := pods(t, objects)
	for _, object := range objects {
		config, ok := typed(t, object).(*corev1.ConfigMap)
		if !ok || config.Data[backupjob.PlanFile] == "" {
			continue
		}
		var plan backupjob.Plan
		if err := yaml.UnmarshalStrict([]byte(config.Data[backupjob.PlanFile]), &plan); err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		for _, job := range []batchv1.Job{plan.Create, plan.Restore} {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&job)
			if err != nil {
				t.Fatal(err)
			}
			made := &unstructured.Unstructured{Object: content}
			from := chart.Object{Unstructured: made, Source: object.Source, Hook: object.Hook}
			all = append(all, pod{from, job.Spec.Template})
		}
	}
	return all
}

// Policies such as those of Kyverno and Gatekeeper refuse pods of the ServiceAccount "default". One of the release
// itself does not exist yet while the hooks before an install, or before an upgrade from 0.1.0, run their Jobs.
func TestPodsHaveServiceAccountsOfTheirOwn(t *testing.T) {
	targets := profiles(t)
	targets["every module"] = target{set: everyModule}
	targets["upgrade"] = target{set: slices.Concat(everyModule, []string{"global.imagePullSecrets[0].name=regcred"}),
		upgrade: true}
	for name, to := range targets {
		t.Run(name, func(t *testing.T) {
			objects := ours(renderFor(t, to).Objects)
			seen := map[string]bool{}
			for _, p := range everyPod(t, objects) {
				seen[p.from.GetName()] = true
				account := p.spec().ServiceAccountName
				if account == "" || account == "default" {
					t.Errorf("%s: spec.serviceAccountName is %q: policies that refuse the ServiceAccount default "+
						"refuse this pod", p.from, account)
					continue
				}
				if !slices.ContainsFunc(objects, func(o chart.Object) bool {
					return o.GetKind() == "ServiceAccount" && o.GetName() == account && namespaceOf(o) == namespaceOf(p.from) &&
						comesInTime(o, p.from)
				}) {
					t.Errorf("%s: ServiceAccount %s does not exist when its phase (%s) runs", p.from, account, phaseOf(p.from))
				}
			}
			for _, job := range []string{"nap-pull", "nap-migrate", "nap-backup", "nap-restore", "nap-test"} {
				if !seen[job] && to.set != nil {
					t.Errorf("Job %s is not among %d pods", job, len(seen))
				}
			}
		})
	}
}

// The hooks before an install try pods in dry runs, with a ServiceAccount that is there then. Only workspaces run as
// "default".
func TestPodsAreTriedWithServiceAccountsOfTheirOwn(t *testing.T) {
	for name, set := range map[string][]string{
		"defaults":          nil,
		"one namespace":     {"global.workspaces.namespace=" + namespace},
		"ports of nodes":    {"browser.coturn.network=hostNetwork"},
		"files of root":     {"workspaceRuntime.afsController.runAsUser=0"},
		"OpenShift":         {"global.openshift.enabled=true"},
		"OpenShift, coturn": {"global.openshift.enabled=true", "browser.coturn.network=hostPort"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := ours(renderFor(t, target{set: slices.Concat(everyModule, set)}).Objects)
			prepare, job := prepareSpec(t, objects), jobs(t, objects)["prepare"]
			accounts := []string{prepare.Workloads.Account}
			guards := slices.Concat(prepare.Guard.PodSecurity,
				specOf[hook.GuardSpec](t, objects, specConfigMap(t, jobs(t, objects)["guard"]), "guard").PodSecurity)
			for _, check := range guards {
				if check.Value == "global.workspaces.namespace" {
					if check.Account != "" {
						t.Errorf("workspaces are tried as ServiceAccount %s and run as default", check.Account)
					}
					continue
				}
				accounts = append(accounts, check.Account)
				onOpenShift := strings.HasPrefix(name, "OpenShift")
				if check.Level == "restricted" && check.NoUser != onOpenShift {
					t.Errorf("podSecurity of namespace %s: noUser is %v", check.Namespace, check.NoUser)
				}
			}
			for _, account := range accounts {
				if !slices.ContainsFunc(objects, func(o chart.Object) bool {
					return o.GetKind() == "ServiceAccount" && o.GetName() == account && namespaceOf(o) == namespace &&
						comesInTime(o, job.from)
				}) {
					t.Errorf("pods are tried as ServiceAccount %q, which does not exist before an install", account)
				}
			}
		})
	}
}

// comesInTime says whether an account is there when a pod of another object starts: with it, or brought by its phase.
func comesInTime(account, user chart.Object) bool {
	if user.Hook == nil || !strings.Contains(phaseOf(user), "pre-") {
		return account.Hook == nil || phaseOf(account) == phaseOf(user)
	}
	return account.Hook != nil && phaseOf(account) == phaseOf(user)
}

// phaseOf are the events at which Helm creates an object, "" for the release's own objects.
func phaseOf(object chart.Object) string {
	if object.Hook == nil {
		return ""
	}
	var events []string
	for _, event := range object.Hook.Events {
		events = append(events, event.String())
	}
	slices.Sort(events)
	return strings.Join(events, ",")
}

// Jobs that ask nothing of Kubernetes run without rights, also where another Job of their phase has some.
func TestJobsWithoutRequestsHaveNoRights(t *testing.T) {
	objects := ours(renderFor(t, target{set: everyModule, upgrade: true}).Objects)
	granted := rights(t, objects)
	for _, p := range everyPod(t, objects) {
		account := namespaceOf(p.from) + "/" + p.spec().ServiceAccountName
		switch automount := p.spec().AutomountServiceAccountToken; {
		case automount == nil:
			t.Errorf("%s: spec.automountServiceAccountToken is not set", p.from)
		case !*automount && len(granted[account]) > 0:
			t.Errorf("%s: ServiceAccount %s has %d rights, which it does not use", p.from, account, len(granted[account]))
		}
	}
}
