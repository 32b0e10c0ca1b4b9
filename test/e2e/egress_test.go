//go:build e2e

package e2e

import (
	"os"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wantEgressPolicy asserts that the NetworkPolicy for what workspaces connect to exists, or does not.
func (r *release) wantEgressPolicy(t *testing.T, want bool) {
	t.Helper()
	policies := r.client.NetworkingV1().NetworkPolicies(r.workspaces())
	_, err := policies.Get(t.Context(), "nap-workspaces-egress", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if got := err == nil; got != want {
		t.Errorf("NetworkPolicy nap-workspaces-egress exists: %t, want %t", got, want)
	}
}

// wantWorkspacesLimited asserts that a pod like a workspace reaches the control plane and neither the API server, which
// pods of other namespaces do reach, nor a node.
func (r *release) wantWorkspacesLimited(t *testing.T) {
	r.wantEgressPolicy(t, true)
	// The testbed enforces policies unless it was brought up with --network-policies=false: then everything is open.
	enforced := os.Getenv("NETWORK_POLICIES") != "false"
	address := func(namespace, service string) string {
		t.Helper()
		found, err := r.client.CoreV1().Services(namespace).Get(t.Context(), service, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return found.Spec.ClusterIP
	}
	apiServer := address(metav1.NamespaceDefault, "kubernetes")
	workspace := map[string]string{"app": "tos"}
	for _, c := range []struct {
		what, namespace string
		labels          map[string]string
		address         string
		port            int
		open            bool
	}{
		{"a workspace to the control plane", r.workspaces(), workspace, address(r.namespace, "nap-cp"), 3000, true},
		{"a workspace to the AFS controller", r.workspaces(), workspace, address(r.namespace, "afs-controller"), 9100, true},
		{"a workspace to the skills service", r.workspaces(), workspace, address(r.namespace, "nap-skills"), 3008, false},
		{"a workspace to the API server", r.workspaces(), workspace, apiServer, 443, false},
		{"a workspace to a kubelet", r.workspaces(), workspace, r.nodeIP, 10250, false},
		{"another pod to the API server", metav1.NamespaceDefault, nil, apiServer, 443, true},
		{"another pod to a kubelet", metav1.NamespaceDefault, nil, r.nodeIP, 10250, true},
	} {
		want := c.open || !enforced
		if got := r.podConnects(t, c.namespace, c.labels, c.address, c.port); got != want {
			t.Errorf("%s at %s port %d: connects %t, want %t", c.what, c.address, c.port, got, want)
		}
	}
}
