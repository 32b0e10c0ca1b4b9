//go:build e2e

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A CloudNativePG operator that is already in the cluster is named by the render before anything is made,
// and reused when the values say so; so are CRDs that another release left.
func TestOperatorAlreadyThere(t *testing.T) {
	env := newEnvironment(t)
	operator := env.release(env.helm4, "cnpg", "cnpg-system")
	t.Cleanup(func() { operator.purge(t) })
	got := operator.run(t.Context(), 3*time.Minute, "install", operator.name, filepath.Join(env.chart, "charts", "cloudnative-pg"),
		"--namespace", operator.namespace, "--create-namespace", "--wait")
	if got.err != nil {
		t.Fatalf("install the operator: %v\n%s", got.err, got.output)
	}
	r := env.release(env.helm4, "neutree", "nap-reuse")
	t.Cleanup(func() { r.purge(t) })

	wantRefused(t, r.upgrade(t.Context(), "--wait"), 30*time.Second,
		"cnpg-system", "cloudnative-pg.enabled=false")
	r.mustUpgrade(t, "--wait", "--set", "cloudnative-pg.enabled=false")
	r.login(t)
	r.mustUninstall(t)

	if got := operator.uninstall(t.Context()); got.err != nil {
		t.Fatalf("uninstall the operator: %v\n%s", got.err, got.output)
	}
	wantRefused(t, r.upgrade(t.Context(), "--wait"), 30*time.Second,
		"clusters.postgresql.cnpg.io", "cnpg-system", "cloudnative-pg.crds.create=false")
}

// An operator that is slow to serve its webhook only delays the install.
func TestOperatorSlow(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	done := r.begin(t, "--set", "cloudnative-pg.replicaCount=0")

	job := r.bootstrapJob(t)
	eventually(t, 2*time.Minute, "bootstrap waits for the webhook", func(ctx context.Context) (bool, string) {
		text := r.jobLogs(ctx, job)
		return strings.Contains(text, "webhook"), text
	})
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "neutree-cloudnative-pg", Namespace: r.namespace}}
	scale.Spec.Replicas = 1
	if _, err := env.client.AppsV1().Deployments(r.namespace).UpdateScale(t.Context(), scale.Name, scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil {
		r.dump(t)
		t.Fatalf("helm: %v after %s\n%s", got.err, got.took, got.output)
	}
	r.waitDeployments(t)
	r.login(t)
}
