package chart_test

import (
	"slices"
	"testing"

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
