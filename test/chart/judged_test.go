package chart_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// judgedKinds are the resources of the kinds that prepare has the API server judge.
var judgedKinds = map[string]string{
	"Deployment": "deployments", "DaemonSet": "daemonsets", "StatefulSet": "statefulsets", "CronJob": "cronjobs",
	"Service": "services", "PersistentVolumeClaim": "persistentvolumeclaims",
}

// judgedWorkloads are what prepare hands to the API server.
func judgedWorkloads(t *testing.T, objects []chart.Object) hook.Workloads {
	t.Helper()
	secret := find[*corev1.Secret](t, objects, namespace, "nap-pre-install-workloads")
	var workloads hook.Workloads
	if err := yaml.UnmarshalStrict([]byte(secret.StringData["workloads.yaml"]), &workloads); err != nil {
		t.Fatal(err)
	}
	return workloads
}

// What the API server judges before the first migration is what Helm applies after it, no more and no less.
func TestWhatIsJudgedIsWhatIsApplied(t *testing.T) {
	for name, set := range map[string][]string{
		"modules": everyModule,
		"ingress": append(slices.Clone(everyModule), "global.exposure.type=ingress",
			"global.exposure.ingress.className=nginx", "global.host=nap.example.org", "global.storage.afsController.existingClaim=mine"),
	} {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, set...)
			judged := judgedWorkloads(t, ours(rendered.Objects))
			if len(judged.Left) > 0 {
				t.Errorf("%v are not judged", judged.Left)
			}
			left := map[string]hook.Workload{}
			for _, workload := range judged.Workloads {
				left[workload.Object.GetKind()+" "+workload.Object.GetName()] = workload
				if workload.Value == "" {
					t.Errorf("%s %s has no path of its values", workload.Object.GetKind(), workload.Object.GetName())
				}
			}
			for _, object := range ours(rendered.Main()) {
				if judgedKinds[object.GetKind()] == "" || namespaceOf(object) != namespace {
					continue
				}
				key := object.GetKind() + " " + object.GetName()
				workload, is := left[key]
				var applied hook.Workload
				indented := "object:\n  " + strings.ReplaceAll(object.YAML, "\n", "\n  ")
				if err := yaml.Unmarshal([]byte(indented), &applied); err != nil {
					t.Fatal(err)
				}
				if !is || !reflect.DeepEqual(workload.Object, applied.Object) {
					t.Errorf("%s: judged is %v, want what is applied", object, workload.Object)
				}
				delete(left, key)
			}
			for key := range left {
				t.Errorf("%s is judged, and Helm does not apply it", key)
			}
		})
	}
}

// Prepare may patch each workload that it has judged, by its name, and nothing that gives rights, judges objects, or is
// a Secret of another release.
func TestPrepareMayTryWorkloadsAlone(t *testing.T) {
	objects := ours(renderAll(t).Objects)
	rules := find[*rbacv1.Role](t, objects, namespace, "nap-pre-install").Rules
	for _, workload := range judgedWorkloads(t, objects).Workloads {
		resource := judgedKinds[workload.Object.GetKind()]
		for _, verb := range []string{"get", "patch"} {
			if !slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb) &&
					slices.Contains(rule.ResourceNames, workload.Object.GetName())
			}) {
				t.Errorf("prepare may not %s %s %s", verb, resource, workload.Object.GetName())
			}
		}
	}
	rules = slices.Concat(rules, find[*rbacv1.ClusterRole](t, objects, namespace, namespace+"-nap-pre-install").Rules)
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			if slices.Contains([]string{"rbac.authorization.k8s.io", "admissionregistration.k8s.io"}, group) {
				t.Errorf("prepare has a right in %s: %v", group, rule)
			}
		}
		creates := slices.Equal(rule.Verbs, []string{"create"})
		if slices.Contains(rule.Resources, "secrets") && len(rule.ResourceNames) == 0 && !creates {
			t.Errorf("prepare has a right to Secrets without names: %v", rule)
		}
		if slices.Contains(rule.Verbs, "patch") && len(rule.ResourceNames) == 0 {
			t.Errorf("prepare may patch objects without names: %v", rule)
		}
	}
}

// A Secret holds 1 MiB. What would not fit is named, so that the hook can say that it was not tried.
func TestJudgedWorkloadsFitIntoTheirSecret(t *testing.T) {
	large := strings.Repeat("x", 500_000)
	objects := renderFor(t, target{set: []string{
		"controlPlane.cp.podAnnotations.large=" + large, "controlPlane.skills.podAnnotations.large=" + large,
	}}).Objects
	secret := find[*corev1.Secret](t, ours(objects), namespace, "nap-pre-install-workloads")
	if size := len(secret.StringData["workloads.yaml"]); size > 1<<20-1<<10 {
		t.Errorf("the Secret has %d bytes", size)
	}
	left := judgedWorkloads(t, ours(objects)).Left
	if !slices.Contains(left, "Deployment nap-skills-content-service") && !slices.Contains(left, "Deployment nap-skills") {
		t.Errorf("left out are %v, want the Deployment that does not fit", left)
	}
}
