package chart_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
)

// wrapped renders the chart as a dependency of a chart of one's own.
func wrapped(t *testing.T, text string) (*chart.Rendered, error) {
	t.Helper()
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "wrapper")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "wrapper"))); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "charts", "neutree"), os.DirFS(umbrella)); err != nil {
		t.Fatal(err)
	}
	loaded, err := chart.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return chart.Render(loaded, chart.Options{Release: releaseName, Namespace: namespace, Values: values,
		Kubernetes: chart.Kubernetes{Version: kubernetes}})
}

func TestDependencyOfAnotherChart(t *testing.T) {
	rendered, err := wrapped(t, "")
	if err != nil {
		t.Fatal(err)
	}
	cp := podOf(t, rendered.Objects, "Deployment", "nap-cp").container(t, "control-plane")
	if !slices.ContainsFunc(cp.Env, func(e corev1.EnvVar) bool { return e.Value == "https://nap.example.com" }) {
		t.Error("the wrapper's values do not arrive")
	}
	if rendered, err = wrapped(t, "neutree: {enabled: false}"); err != nil || len(rendered.Objects) > 0 {
		t.Errorf("turned off: %v, %v", rendered, err)
	}
	if _, err = wrapped(t, "neutree: {global: {exposure: {tpye: ingress}}}"); err == nil ||
		!strings.Contains(err.Error(), "tpye") {
		t.Errorf("a misspelt key: %v", err)
	}
}
