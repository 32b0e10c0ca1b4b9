//go:build e2e

package e2e

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	env.startDatabase(t)
	r := env.release(env.helm4, "neutree", "nap-reuse")
	t.Cleanup(func() { r.purge(t) })

	wantRefused(t, r.upgrade(t.Context(), "--wait"), 30*time.Second,
		"cnpg-system", "cloudnative-pg.enabled=false")
	r.mustUpgrade(t, "--wait", "--set", "cloudnative-pg.enabled=false")
	r.login(t)
	// The operator's namespace is found in the cluster, and PostgreSQL admits the operator from no other.
	r.wantOperatorFrom(t, "cnpg-system")
	r.mustUninstall(t)

	env.testExternal(t)

	if got := operator.uninstall(t.Context()); got.err != nil {
		t.Fatalf("uninstall the operator: %v\n%s", got.err, got.output)
	}
	wantRefused(t, r.upgrade(t.Context(), "--wait"), 30*time.Second,
		"clusters.postgresql.cnpg.io", "cnpg-system", "cloudnative-pg.crds.create=false")
}

// wantOperatorFrom asserts that PostgreSQL admits an operator of one namespace, which is not the release's.
func (r *release) wantOperatorFrom(t *testing.T, namespace string) {
	t.Helper()
	policy, err := r.client.NetworkingV1().NetworkPolicies(r.namespace).Get(t.Context(), "nap-pg", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var from []string
	for _, rule := range policy.Spec.Ingress {
		for _, peer := range rule.From {
			if peer.NamespaceSelector != nil {
				from = append(from, metav1.FormatLabelSelector(peer.NamespaceSelector))
			}
		}
	}
	if want := []string{corev1.LabelMetadataName + "=" + namespace}; !slices.Equal(from, want) {
		t.Errorf("NetworkPolicy nap-pg admits pods of %v, want %v", from, want)
	}
}
