package workspaces

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: ws}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-1, namespace: ws, labels: {app: tos}}
spec: {replicas: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-stopped, namespace: ws, labels: {app: tos}}
spec: {replicas: 0}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: tos-2, namespace: ws, labels: {app: tos}}
spec: {replicas: 3}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bystander, namespace: ws, labels: {app: other}}
spec: {replicas: 1}
`

func replicas(t *testing.T, server *kubetest.Server) map[string]any {
	t.Helper()
	got := map[string]any{}
	for _, at := range []string{"deployments/tos-1", "deployments/tos-stopped", "statefulsets/tos-2", "deployments/bystander"} {
		got[at] = server.Object("/apis/apps/v1/namespaces/ws/" + at).Object["spec"].(map[string]any)["replicas"]
	}
	return got
}

func want(t *testing.T, server *kubetest.Server, numbers map[string]int64) {
	t.Helper()
	for at, got := range replicas(t, server) {
		if got != numbers[at] {
			t.Errorf("%s has %v replicas, want %d", at, got, numbers[at])
		}
	}
}

func TestStopAndResume(t *testing.T) {
	server := kubetest.New(t, objects)
	running := map[string]int64{"deployments/tos-1": 1, "statefulsets/tos-2": 3, "deployments/bystander": 1}

	if n, err := Stop(t.Context(), server.Client(), "ws"); n != 2 || err != nil {
		t.Fatalf("stopped %d (%v), want 2", n, err)
	}
	want(t, server, map[string]int64{"deployments/bystander": 1})

	// A second uninstall, after the first was cut off, must not forget what ran.
	if n, err := Stop(t.Context(), server.Client(), "ws"); n != 0 || err != nil {
		t.Fatalf("stopped %d again (%v), want 0", n, err)
	}
	if n, err := Resume(t.Context(), server.Client(), "ws"); n != 2 || err != nil {
		t.Fatalf("resumed %d (%v), want 2", n, err)
	}
	want(t, server, running)
	if n, err := Resume(t.Context(), server.Client(), "ws"); n != 0 || err != nil {
		t.Fatalf("resumed %d again (%v), want 0", n, err)
	}
}

func TestResumeLeavesARunningOne(t *testing.T) {
	server := kubetest.New(t, objects, `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: tos-2, namespace: ws, labels: {app: tos}, annotations: {neutree.ai/replicas: "1"}}
spec: {replicas: 3}
`)
	if n, err := Resume(t.Context(), server.Client(), "ws"); n != 0 || err != nil {
		t.Fatalf("resumed %d (%v), want 0", n, err)
	}
	want(t, server, map[string]int64{"deployments/tos-1": 1, "statefulsets/tos-2": 3, "deployments/bystander": 1})
}

func TestOneThatFailsDoesNotStopTheOthers(t *testing.T) {
	server := kubetest.New(t, objects)
	server.Refuse(-1, "PATCH", "/apis/apps/v1/namespaces/ws/deployments/tos-1",
		kubetest.Status(500, metav1.StatusReasonInternalError, "etcd is away"))
	n, err := Stop(t.Context(), server.Client(), "ws")
	if n != 1 || err == nil || !strings.Contains(err.Error(), "workspace tos-1 in namespace ws") || !strings.Contains(err.Error(), "etcd is away") {
		t.Fatalf("stopped %d (%v), want 1 and an error that names tos-1", n, err)
	}
}
