package workspaces

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

func stoppedWorkspace(id string) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: tos-%[1]s, namespace: ws, "+
		"labels: {app: tos, workspace-id: %[1]s}, annotations: {neutree.ai/replicas: \"1\"}}\nspec: {replicas: 0}", id)
}

// Workspaces that the database does not know stay stopped, on every page of the list. One that runs is left alone.
func TestHoldOnEveryPage(t *testing.T) {
	server := kubetest.New(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: ws}")
	const count = kube.PageSize + 20
	for n := range count {
		server.Put(stoppedWorkspace(fmt.Sprintf("w%04d", n)))
	}
	running := strings.Replace(strings.Replace(stoppedWorkspace("runs"), "replicas: 0", "replicas: 1", 1),
		`neutree.ai/replicas: "1"`, "", 1)
	server.Put(running)
	ids, err := IDs(t.Context(), server.Client(), "ws")
	if err != nil || len(ids) != count+1 {
		t.Fatalf("%d ids, %v", len(ids), err)
	}
	want := []string{"w0003", fmt.Sprintf("w%04d", count-1)}
	held, err := Hold(t.Context(), server.Client(), "ws", func(_ context.Context, ids []string) ([]string, error) {
		return slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(append(want, "runs"), id) }), nil
	})
	if err != nil || !slices.Equal(held, want) {
		t.Fatalf("held %v, %v", held, err)
	}
	started, err := Resume(t.Context(), server.Client(), "ws")
	if err != nil || started != count-len(want) {
		t.Errorf("%d workspaces were started, not %d: %v", started, count-len(want), err)
	}
	for at, replicas := range map[string]int64{"tos-w0003": 0, "tos-w0004": 1, "tos-runs": 1} {
		if got := server.Object("/apis/apps/v1/namespaces/ws/deployments/" +
			at).Object["spec"].(map[string]any)["replicas"]; got != replicas {
			t.Errorf("%s has %v replicas, not %d", at, got, replicas)
		}
	}
}
