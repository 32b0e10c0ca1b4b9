package chart_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// keys are where the values of each service stand.
var keys = map[string]string{
	"cp": "controlPlane.cp", "scheduler": "controlPlane.scheduler", "skills": "controlPlane.skills",
	"office-converter": "controlPlane.officeConverter", "cg": "gateway",
	"env-runner-k8s": "workspaceRuntime.runner", "afs-controller": "workspaceRuntime.afsController",
	"sandbox": "sandbox.service", "browser": "browser.service", "coturn": "browser.coturn",
}

func TestPodsAreWhatOperatorsMakeThem(t *testing.T) {
	var settings []string
	for _, key := range keys {
		settings = append(settings,
			key+`.nodeSelector={"pool":"nap"}`, key+`.tolerations=[{"key":"nap","operator":"Exists"}]`,
			key+`.priorityClassName="platform"`,
			key+`.affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}`,
			key+`.topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]`,
			key+`.podAnnotations={"example.org/a":"b"}`, key+`.resources={"requests":{"cpu":"7m","memory":"70Mi"},"limits":{"memory":"700Mi"}}`,
			key+`.extraVolumes=[{"name":"mine","configMap":{"name":"mine"}}]`, key+`.extraVolumeMounts=[{"name":"mine","mountPath":"/mine"}]`)
	}
	objects := ours(renderFor(t, target{set: everyModule, json: settings}).Main())
	services := workloads(objects)
	if len(services) != len(keys) {
		t.Fatalf("%d services are rendered, and %d have values", len(services), len(keys))
	}
	for _, w := range services {
		t.Run(w.Name, func(t *testing.T) {
			p, c := mainContainer(t, w, objects)
			spec := p.spec()
			for setting, set := range map[string]bool{
				"nodeSelector":              spec.NodeSelector["pool"] == "nap",
				"tolerations":               len(spec.Tolerations) == 1 && spec.Tolerations[0].Key == "nap",
				"priorityClassName":         spec.PriorityClassName == "platform",
				"affinity":                  spec.Affinity != nil && spec.Affinity.NodeAffinity != nil,
				"topologySpreadConstraints": len(spec.TopologySpreadConstraints) == 1,
				"podAnnotations":            p.template.Annotations["example.org/a"] == "b",
				"resources":                 c.Resources.Requests.Cpu().String() == "7m" && c.Resources.Limits.Memory().String() == "700Mi",
				"extraVolumes":              slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == "mine" && v.ConfigMap != nil }),
				"extraVolumeMounts":         slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "mine" && m.MountPath == "/mine" }),
			} {
				if !set {
					t.Errorf("%s.%s does not reach its pod", keys[w.Name], setting)
				}
			}
		})
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

// The control plane alone knows of proxies, and must not ask one for what is inside the cluster.
func TestProxy(t *testing.T) {
	objects := ours(renderAll(t, "controlPlane.cp.proxy.https=http://proxy.example.org:3128", "controlPlane.cp.proxy.noProxy[0]=10.0.0.0/8").Main())
	for _, w := range workloads(objects) {
		p, c := mainContainer(t, w, objects)
		set := variables(t, p, c)
		if w.Name != "cp" {
			if env, found := set["HTTPS_PROXY"]; found {
				t.Errorf("%s: HTTPS_PROXY = %s", p.from, env.Value)
			}
			continue
		}
		if got := set["HTTPS_PROXY"].Value; got != "http://proxy.example.org:3128" {
			t.Errorf("%s: HTTPS_PROXY = %q", p.from, got)
		}
		without := strings.Split(set["NO_PROXY"].Value, ",")
		for _, want := range []string{".svc", ".cluster.local", "localhost", "$(KUBERNETES_SERVICE_HOST)", "10.0.0.0/8"} {
			if !slices.Contains(without, want) {
				t.Errorf("%s: NO_PROXY = %v lacks %s", p.from, without, want)
			}
		}
		if _, found := set["HTTP_PROXY"]; found {
			t.Errorf("%s: HTTP_PROXY is set though no such proxy is", p.from)
		}
	}
	p := podOf(t, render(t).Objects, "Deployment", "nap-cp")
	if env, found := variables(t, p, p.container(t, "control-plane"))["NO_PROXY"]; found {
		t.Errorf("%s: NO_PROXY = %q without a proxy", p.from, env.Value)
	}
}
