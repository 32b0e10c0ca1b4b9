package chart_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/cli/values"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// The values that a release had, without the chart's own, install the same release.
func TestUserValues(t *testing.T) {
	umbrella := requirementtest.Umbrella(t)
	files, err := filepath.Glob("../../charts/neutree/ci/*-values.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files with values: %v", len(files), err)
	}
	render := func(user map[string]any) *chart.Rendered {
		t.Helper()
		ch, err := chart.Load(umbrella)
		if err != nil {
			t.Fatal(err)
		}
		rendered, err := chart.Render(ch, chart.Options{Release: "neutree", Namespace: "nap", Values: user,
			Kubernetes: chart.Kubernetes{Version: "1.34", APIVersions: []string{"gateway.networking.k8s.io/v1/HTTPRoute"}}})
		if err != nil {
			t.Fatal(err)
		}
		return rendered
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			user, err := chart.Values(values.Options{ValueFiles: []string{file}})
			if err != nil {
				t.Fatal(err)
			}
			wanted, err := yaml.Marshal(user)
			if err != nil {
				t.Fatal(err)
			}
			first := render(user)
			// As they are saved and read.
			text, err := yaml.Marshal(first.Values)
			if err != nil {
				t.Fatal(err)
			}
			var saved map[string]any
			if err := yaml.Unmarshal(text, &saved); err != nil {
				t.Fatal(err)
			}
			ch, err := chart.Load(umbrella)
			if err != nil {
				t.Fatal(err)
			}
			own, err := chart.UserValues(ch, saved)
			if err != nil {
				t.Fatal(err)
			}
			text, err = yaml.Marshal(own)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) > len(wanted) {
				t.Errorf("more is left than was written:\n%s\nwas\n%s", text, wanted)
			}
			second := render(own)
			if diff := cmp.Diff(manifests(first), manifests(second)); diff != "" {
				t.Errorf("it installs something else with\n%s:\n%s", text, diff)
			}
		})
	}
}

func manifests(r *chart.Rendered) []string {
	var all []string
	for _, object := range r.Objects {
		all = append(all, object.YAML)
	}
	return all
}

func TestUserValuesKeepNulls(t *testing.T) {
	dir := write(t, map[string]string{
		"Chart.yaml": "{apiVersion: v2, name: one, version: 1.0.0}", "values.yaml": "a: {b: 1, c: 2, d: [1]}\ne: {}\nf: 1000000\n",
	})
	ch, err := chart.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	own, err := chart.UserValues(ch, map[string]any{"a": map[string]any{"b": 1.0, "d": []any{}}, "e": map[string]any{}, "f": int64(1000000)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"a": map[string]any{"c": nil, "d": []any{}}}, own); diff != "" {
		t.Error(diff)
	}
}
