package chart_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// keys are where the values of each service stand.
var keys = map[string]string{
	"cp": "controlPlane.cp", "scheduler": "controlPlane.scheduler", "skills": "controlPlane.skills",
	"office-converter": "controlPlane.officeConverter", "cg": "gateway",
	"env-runner-k8s": "workspaceRuntime.runner", "afs-controller": "workspaceRuntime.afsController",
	"sandbox": "sandbox.service", "browser": "browser.service", "coturn": "browser.coturn",
}

// knobs are what an operator can say of any pod: a value, and how to see it in the pod and in its main container.
var knobs = map[string]struct {
	value string
	seen  func(corev1.PodTemplateSpec, corev1.Container) bool
}{
	"nodeSelector":      {`{"pool":"nap"}`, func(p corev1.PodTemplateSpec, _ corev1.Container) bool { return p.Spec.NodeSelector["pool"] == "nap" }},
	"tolerations":       {`[{"key":"nap","operator":"Exists"}]`, func(p corev1.PodTemplateSpec, _ corev1.Container) bool { return len(p.Spec.Tolerations) == 1 }},
	"priorityClassName": {`"platform"`, func(p corev1.PodTemplateSpec, _ corev1.Container) bool { return p.Spec.PriorityClassName == "platform" }},
	"affinity": {`{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}`,
		func(p corev1.PodTemplateSpec, _ corev1.Container) bool {
			return p.Spec.Affinity != nil && p.Spec.Affinity.NodeAffinity != nil
		}},
	"topologySpreadConstraints": {`[{"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]`,
		func(p corev1.PodTemplateSpec, _ corev1.Container) bool {
			return len(p.Spec.TopologySpreadConstraints) == 1
		}},
	"podLabels": {`{"example.org/cost":"agents","app":"mine"}`, func(p corev1.PodTemplateSpec, _ corev1.Container) bool {
		return p.Labels["example.org/cost"] == "agents" && p.Labels["app"] != "mine"
	}},
	"podAnnotations": {`{"example.org/a":"b"}`, func(p corev1.PodTemplateSpec, _ corev1.Container) bool { return p.Annotations["example.org/a"] == "b" }},
	"resources": {`{"requests":{"cpu":"7m","memory":"70Mi"},"limits":{"memory":"700Mi"}}`, func(_ corev1.PodTemplateSpec, c corev1.Container) bool {
		return c.Resources.Requests.Cpu().String() == "7m" && c.Resources.Limits.Memory().String() == "700Mi"
	}},
	"extraEnv": {`[{"name":"MINE","value":"yes"}]`, func(_ corev1.PodTemplateSpec, c corev1.Container) bool {
		return slices.Contains(c.Env, corev1.EnvVar{Name: "MINE", Value: "yes"})
	}},
	"extraVolumes": {`[{"name":"mine","configMap":{"name":"mine"}}]`, func(p corev1.PodTemplateSpec, _ corev1.Container) bool {
		return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "mine" && v.ConfigMap != nil })
	}},
	"extraVolumeMounts": {`[{"name":"mine","mountPath":"/mine"}]`, func(_ corev1.PodTemplateSpec, c corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "mine" && m.MountPath == "/mine" })
	}},
}

// without are the knobs that a workload does not have, and why.
var without = map[string][]string{
	// It pulls images and does nothing.
	"sandbox-image-warmer": {"extraEnv", "extraVolumes", "extraVolumeMounts"},
	// They run once, wherever there is room.
	"Job": {"topologySpreadConstraints"},
	// They run for a moment on the nodes that the services run on, wherever that is.
	"pull": {"topologySpreadConstraints", "nodeSelector", "priorityClassName", "affinity", "extraEnv", "extraVolumes", "extraVolumeMounts"},
}

// Each knob reaches each workload: services, Jobs, the relay and the warmer of images.
func TestPodsAreWhatOperatorsMakeThem(t *testing.T) {
	values := maps.Clone(keys)
	values["sandbox-image-warmer"], values["Job"] = "sandbox.imageWarmer", "global.hooks"
	var settings []string
	for name, key := range values {
		for knob, k := range knobs {
			if !slices.Contains(without[name], knob) {
				settings = append(settings, key+"."+knob+"="+k.value)
			}
		}
	}
	values["pull"] = values["Job"]
	// The seeds run in the control plane's image.
	settings = append(settings, "global.hooks.seedResources="+knobs["resources"].value)
	reached := map[string]bool{}
	for _, p := range pods(t, ours(renderFor(t, target{set: everyModule, json: settings}).Objects)) {
		name := p.template.Labels["app.kubernetes.io/component"]
		switch p.from.GetKind() {
		case "Job":
			if name != "pull" {
				name = "Job"
			}
		case "Deployment":
			name = strings.TrimPrefix(p.from.GetName(), prefix+"-")
		}
		if values[name] == "" {
			t.Errorf("%s has no values", p.from)
			continue
		}
		reached[name] = true
		c := p.spec().Containers[0]
		for knob, k := range knobs {
			if !slices.Contains(without[name], knob) && !k.seen(p.template, c) {
				t.Errorf("%s.%s does not reach %s", values[name], knob, p.from)
			}
		}
	}
	for name := range values {
		if !reached[name] {
			t.Errorf("no pod of %s is rendered", name)
		}
	}
}

// What is said once for all reaches every pod that says nothing itself, the database's too.
func TestSchedulingOfAllPods(t *testing.T) {
	shared := []string{`global.scheduling={"nodeSelector":{"pool":"nap"},"tolerations":[{"key":"nap","operator":"Exists"}],"priorityClassName":"platform"}`,
		`gateway.nodeSelector={"pool":"mine"}`}
	objects := renderFor(t, target{set: everyModule, json: shared}).Objects
	for _, p := range pods(t, ours(objects)) {
		if p.from.GetName() == "nap-pull" {
			// It runs on the nodes that are named to it.
			if len(p.spec().NodeSelector) > 0 || p.spec().Tolerations[0].Key != "" {
				t.Errorf("%s does not run everywhere", p.from)
			}
			continue
		}
		if want := map[bool]string{true: "mine", false: "nap"}[p.from.GetName() == "nap-cg"]; p.spec().NodeSelector["pool"] != want {
			t.Errorf("%s: nodeSelector = %v, want pool %s", p.from, p.spec().NodeSelector, want)
		}
		if len(p.spec().Tolerations) != 1 || p.spec().PriorityClassName != "platform" {
			t.Errorf("%s: tolerations %v and priority %q are not those of all", p.from, p.spec().Tolerations, p.spec().PriorityClassName)
		}
	}
	made := cluster(t, objects)
	pool, _, _ := unstructured.NestedString(made.Object, "spec", "affinity", "nodeSelector", "pool")
	tolerations, _, _ := unstructured.NestedSlice(made.Object, "spec", "affinity", "tolerations")
	priority, _, _ := unstructured.NestedString(made.Object, "spec", "priorityClassName")
	if pool != "nap" || len(tolerations) != 1 || priority != "platform" {
		t.Errorf("Cluster: pool %q, tolerations %v, priority %q are not those of all", pool, tolerations, priority)
	}
}

func TestDatabasePodsAreWhatOperatorsMakeThem(t *testing.T) {
	made := cluster(t, renderFor(t, target{json: []string{
		`global.database.cnpg.topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"}]`,
		`global.database.cnpg.podLabels={"cost":"db"}`, `global.database.cnpg.podAnnotations={"a":"b"}`, `global.commonLabels={"team":"agents"}`,
	}}).Objects)
	spread, _, _ := unstructured.NestedSlice(made.Object, "spec", "topologySpreadConstraints")
	inherited, _, _ := unstructured.NestedMap(made.Object, "spec", "inheritedMetadata")
	want := map[string]any{"labels": map[string]any{"cost": "db", "team": "agents"}, "annotations": map[string]any{"a": "b"}}
	if diff := cmp.Diff(want, inherited); diff != "" || len(spread) != 1 {
		t.Errorf("Cluster: %d spread constraints, inheritedMetadata (-want +got):\n%s", len(spread), diff)
	}
}

// A budget stands where there is more than one pod, and nowhere else: it would only keep nodes from being drained.
func TestBudgets(t *testing.T) {
	for _, object := range ours(render(t).Objects) {
		if object.GetKind() == "PodDisruptionBudget" {
			t.Errorf("%s guards a single pod", object)
		}
	}
	objects := ours(render(t, "controlPlane.officeConverter.replicas=2", "global.database.cnpg.instances=3").Objects)
	budget := find[*policyv1.PodDisruptionBudget](t, objects, namespace, "nap-office-converter")
	if selector, pods := budget.Spec.Selector.MatchLabels, podOf(t, objects, "Deployment", "nap-office-converter").template.Labels; selector["app"] == "" || selector["app"] != pods["app"] {
		t.Errorf("the budget selects %v of pods with %v", selector, pods)
	}
	if budget.Spec.MaxUnavailable.IntValue() != 1 || *find[*appsv1.Deployment](t, objects, namespace, "nap-office-converter").Spec.Replicas != 2 {
		t.Errorf("budget = %+v for two pods", budget.Spec)
	}
	if enabled, _, _ := unstructured.NestedBool(cluster(t, objects).Object, "spec", "enablePDB"); !enabled {
		t.Error("Cluster: three instances have no budget")
	}
}

// OpenShift refuses a user that is not of the namespace's range.
func TestOpenShiftChoosesTheUser(t *testing.T) {
	for _, p := range pods(t, ours(renderAll(t, "global.openshift.enabled=true").Objects)) {
		context := p.spec().SecurityContext
		if context.RunAsUser != nil || context.RunAsGroup != nil || context.FSGroup != nil || !*context.RunAsNonRoot {
			t.Errorf("%s: securityContext = %+v, want no user, and none that is root", p.from, context)
		}
		for _, c := range p.containers() {
			if c.SecurityContext.RunAsUser != nil {
				t.Errorf("%s: container %s names a user", p.from, c.Name)
			}
		}
	}
}

func TestCommonLabelsReachEverything(t *testing.T) {
	objects := ours(renderFor(t, target{set: everyModule, json: []string{`global.commonLabels={"example.org/team":"agents"}`}}).Objects)
	for _, object := range objects {
		if object.GetLabels()["example.org/team"] != "agents" {
			t.Errorf("%s: has not the common label", object)
		}
	}
	for _, p := range pods(t, objects) {
		if p.template.Labels["example.org/team"] != "agents" {
			t.Errorf("%s: its pods have not the common label", p.from)
		}
	}
	for _, w := range workloads(objects) {
		if selector := find[*appsv1.Deployment](t, objects, namespace, w.FullName(prefix)).Spec.Selector; len(selector.MatchLabels) != 1 {
			t.Errorf("%s: selector %v, which can't be changed later", w.Name, selector.MatchLabels)
		}
	}
}

func TestExtraObjects(t *testing.T) {
	objects := renderFor(t, target{json: []string{`extraObjects=[
		{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"mine"},"data":{"a":"{{ .Release.Name }}"}},
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\ndata: {a: {{ .Release.Namespace }}}"]`}}).Objects
	for name, want := range map[string]string{"mine": releaseName, "text": namespace} {
		if got := find[*corev1.ConfigMap](t, objects, namespace, name).Data["a"]; got != want {
			t.Errorf("ConfigMap %s: a = %q, want %q", name, got, want)
		}
	}
}
