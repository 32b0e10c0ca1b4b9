//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// mostOfBare is how much longer than the operator with an empty database an install of everything may take.
const mostOfBare = 1.3

// BenchmarkInstallAgainstBare installs the operator's own chart and a Cluster, then the platform, by turns. The first turn
// also pulls images and does not count.
func BenchmarkInstallAgainstBare(b *testing.B) {
	env := newEnvironment(b)
	platform := env.release(env.helm4, "neutree", "nap")
	operator := env.release(env.helm4, "cnpg", "bare")
	b.Cleanup(func() { platform.purge(b); operator.purge(b) })
	var bare, whole []float64
	for turn := range 4 {
		x := operator.installBare(b)
		operator.purge(b)
		y := platform.mustUpgrade(b, "--wait").took
		platform.purge(b)
		fmt.Printf("turn %d: the operator and a ready Cluster %.1f s, the platform %.1f s\n", turn, x.Seconds(), y.Seconds())
		if turn > 0 {
			bare, whole = append(bare, x.Seconds()), append(whole, y.Seconds())
		}
	}
	ratio := median(whole) / median(bare)
	b.ReportMetric(median(bare), "bare-s")
	b.ReportMetric(median(whole), "platform-s")
	b.ReportMetric(ratio, "platform/bare")
	if ratio > mostOfBare {
		b.Errorf("an install takes %.2f times what the bare operator takes, want at most %.1f", ratio, mostOfBare)
	}
}

func median(list []float64) float64 {
	return slices.Sorted(slices.Values(list))[len(list)/2]
}

// installBare installs the operator and a Cluster, and returns how long it took until the database was ready.
func (r *release) installBare(b *testing.B) time.Duration {
	b.Helper()
	began := time.Now()
	got := r.run(b.Context(), 5*time.Minute, "install", r.name, filepath.Join(r.chart, "charts", "cloudnative-pg"),
		"--namespace", r.namespace, "--create-namespace", "--wait")
	if got.err != nil {
		b.Fatalf("helm install of the operator: %v\n%s", got.err, got.output)
	}
	api := r.dynamic.Resource(clusters).Namespace(r.namespace)
	cluster := newCluster("postgres", nil)
	if _, err := api.Create(b.Context(), cluster, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	eventually(b, 5*time.Minute, "a ready Cluster", func(ctx context.Context) (bool, string) {
		cluster, err := api.Get(ctx, cluster.GetName(), metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		ready, _, _ := unstructured.NestedInt64(cluster.Object, "status", "readyInstances")
		return ready == 1, fmt.Sprintf("%d ready", ready)
	})
	return time.Since(began)
}
