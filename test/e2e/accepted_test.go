//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/cli/values"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/test/valuegen"
)

// How many random values are shown to the API server.
const samples = 12

// A real API server takes what every values file renders to, and what random values render to, by a dry run.
func TestObjectsAreAccepted(t *testing.T) {
	env := newEnvironment(t)
	env.applyCRDs(t)
	gatewayAPI(t, env)
	monitorKinds(t, env)
	for _, namespace := range []string{"nap", "nap-workspaces", "agents"} {
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if _, err := env.client.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			env.deleteNamespace(ctx, t, namespace)
		})
	}
	for _, name := range valuesFiles(t) {
		t.Run(name, func(t *testing.T) {
			merged, err := chart.Values(values.Options{ValueFiles: []string{filepath.Join(source, "ci", name+"-values.yaml")}})
			if err != nil {
				t.Fatal(err)
			}
			if err := env.accept(t, merged); err != nil {
				t.Fatal(err)
			}
		})
	}
	source, err := valuegen.Load(env.chart)
	if err != nil {
		t.Fatal(err)
	}
	for seed, accepted := uint64(0), 0; accepted < samples; seed++ {
		merged := source.Valid(rand.New(rand.NewPCG(seed, 0)))
		// Namespaces that random values name do not exist.
		valuegen.Set(merged, []string{"global", "workspaces", "namespace"}, "agents")
		valuegen.Set(merged, []string{"extraObjects"}, []any{})
		if err := env.accept(t, merged); err == nil {
			accepted++
		}
	}
}

// accept renders and shows every object to the API server. The error is the render's alone: values may contradict
// each other.
func (e *environment) accept(t *testing.T, merged map[string]any) error {
	t.Helper()
	loaded, err := chart.Load(e.chart)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := chart.Render(loaded, chart.Options{Release: "neutree", Namespace: "nap", Values: merged, Kubernetes: e.kubernetes(t)})
	if err != nil {
		return fmt.Errorf("render %v: %w", merged, err)
	}
	for _, object := range rendered.Objects {
		options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true, DryRun: []string{metav1.DryRunAll}}
		if _, err := e.clientFor(t, object.Unstructured, "nap").Apply(t.Context(), object.GetName(), object.Unstructured, options); err != nil {
			t.Errorf("values %v: %s: %v", merged, object, err)
		}
	}
	return nil
}
