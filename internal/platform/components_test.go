package platform_test

import (
	"slices"
	"testing"

	"github.com/neutree-ai/packaging/internal/platform"
)

func TestEveryWorkloadNamesAnImage(t *testing.T) {
	keys := map[string]bool{}
	for _, image := range platform.Images() {
		keys[image.Key] = true
	}
	for _, w := range platform.Workloads() {
		if !keys[w.Image] {
			t.Errorf("workload %s: no image has the key %q", w.Name, w.Image)
		}
	}
}

func TestFullName(t *testing.T) {
	var names []string
	for _, w := range platform.Workloads() {
		names = append(names, w.FullName("acme"))
	}
	want := []string{"acme-cp", "acme-cg", "acme-skills", "acme-office-converter", "afs-controller", "acme-env-runner-k8s", "acme-scheduler"}
	if !slices.Equal(names, want) {
		t.Errorf("names under the prefix acme = %v, want %v", names, want)
	}
}
