package k8s

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func TestVersions(t *testing.T) {
	chart := requirement.Chart{Name: "neutree", Version: "0.1.0", KubeVersion: ">=1.28.0-0"}
	for _, tc := range []struct {
		running string
		bundled bool
		words   []string
	}{
		{running: "v1.34.4", bundled: true},
		{running: "v1.34.1-gke.5+x", bundled: true},
		{running: "v1.30.0", bundled: true},
		{running: "v1.28.15", bundled: false},
		{running: "v1.28.15", bundled: true, words: []string{"warning: the cluster runs Kubernetes v1.28.15, and 1.30 is the oldest"}},
		{running: "v1.27.3", words: []string{"the cluster runs Kubernetes v1.27.3, chart neutree 0.1.0 needs >=1.28.0-0 -> upgrade Kubernetes"}},
	} {
		t.Run(tc.running, func(t *testing.T) {
			findings, err := versions(tc.running, &requirement.Set{Chart: chart, Operator: requirement.Operator{Bundled: tc.bundled}})
			if err != nil {
				t.Fatal(err)
			}
			checktest.Want(t, findings, tc.words...)
		})
	}
	if _, err := versions("next", &requirement.Set{}); err == nil {
		t.Error("a version that is none passes")
	}
}

func TestMissingAPI(t *testing.T) {
	api := requirement.API{
		GroupVersionKind: schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"},
		Source:           "neutree/templates/exposure/httproutes.yaml", Value: "global.exposure.type",
	}
	checktest.Want(t, []preflight.Finding{missing(api)},
		"the API server does not know HTTPRoute of gateway.networking.k8s.io/v1, which neutree/templates/exposure/httproutes.yaml makes -> install the Gateway API (its standard channel, 1.2 or newer) and a controller of it, or change global.exposure.type")
}
