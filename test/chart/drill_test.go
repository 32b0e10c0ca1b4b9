package chart_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/neutree-ai/packaging/internal/backupjob"
)

// drillOf is the part of the plan that a drill runs.
func drillOf(t *testing.T, set ...string) *backupjob.DrillPlan {
	t.Helper()
	drill := backupPlan(t, renderAll(t, set...).Objects).Drill
	if drill == nil {
		t.Fatal("the plan says nothing about drills")
	}
	return drill
}

func TestDrillPlan(t *testing.T) {
	drill := drillOf(t, "global.scheduling.priorityClassName=high", "global.database.cnpg.priorityClassName=higher")
	pg := &unstructured.Unstructured{Object: drill.Cluster}
	if pg.GetName() != prefix+"-drill" || drill.Job.Name != prefix+"-drill" || drill.Live != prefix+"-pg" ||
		drill.Record != prefix+"-backup-drill" {
		t.Errorf("Cluster %s, Job %s, live %s, record %s", pg.GetName(), drill.Job.Name, drill.Live, drill.Record)
	}
	template := drill.Job.Spec.Template
	class, _, _ := unstructured.NestedString(pg.Object, "spec", "priorityClassName")
	if template.Spec.PriorityClassName != "" || class != "" {
		t.Errorf("PriorityClasses %q and %q could take a node from others", template.Spec.PriorityClassName, class)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec) {
		if !result.Allowed {
			t.Errorf("not restricted: %v", result)
		}
	}
	main := template.Spec.Containers[0]
	for _, env := range main.Env {
		if env.Name == "DATABASE_URL" && env.ValueFrom.SecretKeyRef.Name != prefix+"-drill-url" {
			t.Errorf("it gets the address of a database from %s", env.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, volume := range template.Spec.Volumes {
		if claim := volume.PersistentVolumeClaim; claim != nil && claim.ClaimName != prefix+"-backups" {
			t.Errorf("it mounts PVC %s", claim.ClaimName)
		}
	}
	if !slices.ContainsFunc(main.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "backups" && m.ReadOnly }) {
		t.Error("it could change the backups")
	}
	if *template.Spec.AutomountServiceAccountToken || *drill.Job.Spec.BackoffLimit != 0 {
		t.Error("it has a token, or would find a database that is not empty in a second pod")
	}
}

// Nothing of the release selects the pods of a drill but policies for all of its pods: no Service sends users to them, no
// disruption budget counts them, and no monitor scrapes them.
func TestDrillIsNoPartOfTheRelease(t *testing.T) {
	objects := renderAll(t, "global.monitoring.enabled=true", "global.networkPolicies.enabled=true").Objects
	drill := backupPlan(t, objects).Drill
	pods := map[string]labels.Set{
		"the Job": drill.Job.Spec.Template.Labels,
		// As the operator labels them.
		"PostgreSQL": {"cnpg.io/cluster": prefix + "-drill", "cnpg.io/podRole": "instance", "cnpg.io/instanceRole": "primary"},
	}
	for _, object := range ours(objects) {
		var selector *metav1.LabelSelector
		switch object.GetKind() {
		case "Service":
			s := typed(t, object).(*corev1.Service)
			selector = &metav1.LabelSelector{MatchLabels: s.Spec.Selector}
		case "PodDisruptionBudget":
			selector = typed(t, object).(*policyv1.PodDisruptionBudget).Spec.Selector
		case "NetworkPolicy":
			p := typed(t, object).(*networkingv1.NetworkPolicy)
			// Those for every pod of the release: nothing reaches one, but what helm test sends to a service's port.
			if selector = &p.Spec.PodSelector; len(selector.MatchLabels) == 2 && selector.MatchLabels["app"] == "" {
				continue
			}
		case "PodMonitor", "ServiceMonitor":
			raw, _, _ := unstructured.NestedMap(object.Object, "spec", "selector")
			selector = &metav1.LabelSelector{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, selector); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		matches, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		for what, set := range pods {
			if object.GetNamespace() == namespace && !matches.Empty() && matches.Matches(set) {
				t.Errorf("%s selects the pod of %s", object, what)
			}
		}
	}
	for _, component := range []string{drill.Job.Labels["app.kubernetes.io/component"],
		drill.Job.Spec.Template.Labels["app.kubernetes.io/component"]} {
		if component != "drill" {
			t.Errorf("hooks would take the Job for a part of %q", component)
		}
	}
}

// Only the Job and the operator reach the throw-away server, and the Job does not reach the live one.
func TestDrillPolicies(t *testing.T) {
	objects := renderAll(t).Objects
	drill := backupPlan(t, objects).Drill
	var own networkingv1.NetworkPolicy
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(drill.Policy, &own); err != nil {
		t.Fatal(err)
	}
	if own.Spec.PodSelector.MatchLabels["cnpg.io/cluster"] != prefix+"-drill" {
		t.Errorf("it protects %v", own.Spec.PodSelector)
	}
	admits := func(p *networkingv1.NetworkPolicy, pod labels.Set) bool {
		return slices.ContainsFunc(p.Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
			return slices.ContainsFunc(rule.From, func(peer networkingv1.NetworkPolicyPeer) bool {
				selector, err := metav1.LabelSelectorAsSelector(peer.PodSelector)
				return err == nil && peer.PodSelector != nil && selector.Matches(pod)
			})
		})
	}
	job := labels.Set(drill.Job.Spec.Template.Labels)
	service := podOf(t, objects, "Deployment", prefix+"-cp").template.Labels
	if !admits(&own, job) || admits(&own, service) || admits(&own, labels.Set{"cnpg.io/cluster": prefix + "-pg"}) {
		t.Error("it admits others than the Job")
	}
	live := find[*networkingv1.NetworkPolicy](t, withoutCRDs(objects), namespace, prefix+"-pg")
	if admits(live, job) {
		t.Error("the live database admits the Job of a drill")
	}
	if len(drillOf(t, "global.networkPolicies.enabled=false").Policy) > 0 {
		t.Error("there is a policy where the release has none")
	}
}

func TestDrillNeedsTheOperator(t *testing.T) {
	objects := render(t, "global.database.mode=external", "global.database.external.host=db",
		"global.database.external.existingSecret=db", "cloudnative-pg.enabled=false").Objects
	if drill := backupPlan(t, objects).Drill; drill != nil {
		t.Errorf("%+v", drill)
	}
}

// An uninstall that deletes the data deletes the record of the last drill as well.
func TestDrillRecordGoesWithTheData(t *testing.T) {
	if spec := deleteSpec(t); !slices.Contains(spec.ConfigMaps, prefix+"-backup-drill") {
		t.Errorf("it deletes %s", strings.Join(spec.ConfigMaps, ", "))
	}
}
