package chart_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	helmchart "helm.sh/helm/v3/pkg/chart"

	"github.com/neutree-ai/packaging/internal/chart"
)

// A template that finds something may ask for more: both of its ways are followed.
func TestLookups(t *testing.T) {
	files := sample(t)
	files["templates/ask.yaml"] = `{{- with lookup "v1" "Secret" "there" "keys" }}
{{- if eq (index .metadata.annotations "meta.helm.sh/release-name") "r" }}
{{- $all := lookup "v1" "Pod" "there" "" }}
{{- end }}
{{- else }}
{{- $node := lookup "v1" "Node" "" "n" }}
{{- end }}`
	path := write(t, files)
	got, err := chart.Lookups(func() (*helmchart.Chart, error) { return chart.Load(path) }, chart.Options{
		Release: "r", Namespace: "here", Kubernetes: chart.Kubernetes{Version: "1.34"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []chart.Lookup{{"v1", "Secret", "there", "keys"}, {"v1", "Node", "", "n"}, {"v1", "Pod", "there", ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
