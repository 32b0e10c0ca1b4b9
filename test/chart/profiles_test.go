package chart_test

import (
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/chart"
)

func profile(name string) target { return target{files: []string{filepath.Join(source, name)}} }

// A k3s server has one class, which serves one node, and little room: what runs all the time must fit.
func TestSingleNodeProfile(t *testing.T) {
	objects := renderFor(t, profile("values-single-node.yaml")).Objects
	if claim := sharedClaim(t, objects); claim.Spec.VolumeName != "nap-nap-shared" || !slices.ContainsFunc(objects, isKind("PersistentVolume")) {
		t.Errorf("the shared volume is no folder of the node: %+v", claim.Spec)
	}
	if instances, _, _ := unstructured.NestedFloat64(cluster(t, objects).Object, "spec", "instances"); instances != 1 {
		t.Errorf("Cluster: %v instances", instances)
	}
	cpu, memory := requests(t, objects)
	if cpu.Cmp(resource.MustParse("1")) > 0 || memory.Cmp(resource.MustParse("3Gi")) > 0 {
		t.Errorf("the services ask for %s CPU and %s, more than values-single-node.yaml says", cpu.String(), memory.String())
	}
}

// requests are those of all pods that run all the time, the database's among them.
func requests(t *testing.T, objects []chart.Object) (cpu, memory resource.Quantity) {
	t.Helper()
	for _, p := range pods(t, ours(objects)) {
		if p.from.GetKind() != "Deployment" {
			continue
		}
		for _, c := range p.spec().Containers {
			cpu.Add(*c.Resources.Requests.Cpu())
			memory.Add(*c.Resources.Requests.Memory())
		}
	}
	asked, _, _ := unstructured.NestedStringMap(cluster(t, objects).Object, "spec", "resources", "requests")
	cpu.Add(resource.MustParse(asked["cpu"]))
	memory.Add(resource.MustParse(asked["memory"]))
	return cpu, memory
}

// The loss of a node loses no commit, and a drain is never blocked by a single pod.
func TestHAProfile(t *testing.T) {
	objects := renderFor(t, profile("values-ha.yaml")).Objects
	made := cluster(t, objects)
	durability, _, _ := unstructured.NestedString(made.Object, "spec", "postgresql", "synchronous", "dataDurability")
	budget, _, _ := unstructured.NestedBool(made.Object, "spec", "enablePDB")
	spread, _, _ := unstructured.NestedSlice(made.Object, "spec", "topologySpreadConstraints")
	if instances, _, _ := unstructured.NestedFloat64(made.Object, "spec", "instances"); instances != 3 || durability != "required" || !budget || len(spread) != 2 {
		t.Errorf("Cluster: %v instances, durability %q, budget %t, %d spread constraints", instances, durability, budget, len(spread))
	}
	converter := podOf(t, objects, "Deployment", "nap-office-converter")
	for _, constraint := range converter.spec().TopologySpreadConstraints {
		for key, value := range constraint.LabelSelector.MatchLabels {
			if converter.template.Labels[key] != value {
				t.Errorf("%s is spread over pods with %s=%s, and is none", converter.from, key, value)
			}
		}
		if constraint.WhenUnsatisfiable != corev1.ScheduleAnyway {
			t.Errorf("%s: %s would keep its rollout from ending where there are few nodes", converter.from, constraint.WhenUnsatisfiable)
		}
	}
	if !slices.ContainsFunc(objects, isKind("PodDisruptionBudget")) || len(converter.spec().TopologySpreadConstraints) == 0 {
		t.Error("two pods have no budget, or may share a node")
	}
}
