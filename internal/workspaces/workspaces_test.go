package workspaces

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
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

// crowd is more workspaces than one page holds.
const crowd = 600

func crowded(t *testing.T, replicas int, annotations string) *kubetest.Server {
	t.Helper()
	server := kubetest.New(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: ws}")
	server.Crowd(crowd, fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\n"+
		"metadata: {name: tos, namespace: ws, labels: {app: tos}, annotations: {%s}}\nspec: {replicas: %d}\n",
		annotations, replicas))
	return server
}

func TestManyWorkspaces(t *testing.T) {
	server := crowded(t, 1, "")
	if n, err := Stop(t.Context(), server.Client(), "ws"); n != crowd || err != nil {
		t.Errorf("stopped %d (%v), want %d", n, err, crowd)
	}
	server = crowded(t, 0, `neutree.ai/replicas: "2"`)
	if n, err := Resume(t.Context(), server.Client(), "ws"); n != crowd || err != nil {
		t.Errorf("resumed %d (%v), want %d", n, err, crowd)
	}
	seen := map[string]bool{}
	for _, change := range server.Changes() {
		seen[change.Path] = true
		if replicas := change.Body["spec"].(map[string]any)["replicas"]; replicas != int64(2) {
			t.Fatalf("%s gets %v replicas, want 2", change.Path, replicas)
		}
	}
	if len(seen) != crowd {
		t.Errorf("%d workspaces were changed, want %d", len(seen), crowd)
	}
	for _, list := range server.Lists() {
		if list.Limit == 0 {
			t.Errorf("a list that is not paged: %+v", list)
		}
	}
}

func TestManyFailuresAreCounted(t *testing.T) {
	server := crowded(t, 1, "")
	server.Refuse(-1, "PATCH", "/apis/apps/v1/namespaces/ws/deployments/*",
		kubetest.Status(500, metav1.StatusReasonInternalError, "etcd is away"))
	n, err := Stop(t.Context(), server.Client(), "ws")
	if n != 0 || err == nil || strings.Count(err.Error(), "etcd is away") != maxNamed ||
		!strings.Contains(err.Error(), "595 more workspaces in namespace ws failed") {
		t.Errorf("stopped %d (%v), want 0 and an error that names %d and counts the others", n, err, maxNamed)
	}
}

func TestTimeRunsOut(t *testing.T) {
	server := crowded(t, 1, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	server.OnChange(func(number int) {
		if number == 100 {
			cancel(context.DeadlineExceeded)
		}
	})
	n, err := Stop(ctx, server.Client(), "ws")
	// The list may be at its second page by then, and requests on their way may still be answered.
	want := " workspaces in namespace ws are left: context deadline exceeded"
	if !errors.Is(err, context.DeadlineExceeded) || n > 100+kube.Workers || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("stopped %d (%v), want an error that ends in %q", n, err, want)
	}
}
