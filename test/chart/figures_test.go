package chart_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"

	"helm.sh/helm/v3/pkg/release"

	"github.com/neutree-ai/packaging/internal/chart"
)

// served are the API versions that every Kubernetes from 1.28 to 1.37 serves, and those of others' kinds that are made
// only where a value asks for them.
var served = []string{
	"v1", "apps/v1", "batch/v1", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1", "storage.k8s.io/v1",
	"admissionregistration.k8s.io/v1", "apiextensions.k8s.io/v1",
	"gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1",
}

func TestAPIVersionsAreServed(t *testing.T) {
	for name, to := range profiles(t) {
		for _, object := range renderFor(t, to).Objects {
			if !slices.Contains(served, object.GetAPIVersion()) {
				t.Errorf("%s: %s is of %s, which not every Kubernetes from 1.28 on serves", name, object, object.GetAPIVersion())
			}
		}
	}
}

// What Helm keeps of a release is one Secret, and Kubernetes takes 1 MiB. The operator's CustomResourceDefinitions, which
// are only in its published chart, are kept twice: in the chart and in what it renders.
func TestReleaseSecretIsSmall(t *testing.T) {
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	most := 400_000
	if published {
		most = 800_000
	}
	rendered := renderAll(t, "cloudnative-pg.crds.create=true")
	loaded, err := chart.Load(umbrella)
	if err != nil {
		t.Fatal(err)
	}
	kept := &release.Release{Name: releaseName, Namespace: namespace, Chart: loaded, Config: rendered.Values, Info: &release.Info{Notes: rendered.Notes}}
	var manifest bytes.Buffer
	for _, object := range rendered.Objects {
		manifest.WriteString(object.YAML)
	}
	kept.Manifest = manifest.String()
	raw, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	// Helm encodes it, and Kubernetes stores it as it is encoded.
	if size := base64.StdEncoding.EncodedLen(packed.Len()); size > most {
		t.Errorf("the release takes %d bytes, want %d at most", size, most)
	} else {
		t.Logf("the release takes %d bytes", size)
	}
}

// BenchmarkRender is what helm template does of everything; it is to take less than half a second.
func BenchmarkRender(b *testing.B) {
	if err := assembled(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := tryRender(target{set: everyModule}); err != nil {
			b.Fatal(err)
		}
	}
}
