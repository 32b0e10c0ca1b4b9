package bootstrap

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
)

// A sync of the main phase alone meets no hook that refuses before it.
func TestUnfinishedRestoreIsRefused(t *testing.T) {
	w := newWorld(t, cluster+`
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {restore.json: '{"backup": "b1", "replicas": {}, "phase": "restoring"}'}
`)
	w.spec.RestoreNote = "nap-restore"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := w.run(ctx)
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(),
		"finish it with helm neutree backup restore b1 --namespace nap") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if changes := w.server.Changes(); len(changes) > 0 {
		t.Errorf("refused, but changed %v", changes)
	}
}

// A reinstall after a restore of an older backup starts what the database knows, and names the rest.
func TestUnknownWorkspacesAreNotStartedAgain(t *testing.T) {
	w := newWorld(t, cluster+`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-known, namespace: ws, labels: {app: tos, workspace-id: known}, annotations: {neutree.ai/replicas: "1"}}
spec: {replicas: 0}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-newer, namespace: ws, labels: {app: tos, workspace-id: newer}, annotations: {neutree.ai/replicas: "1"}}
spec: {replicas: 0}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: tos-newest, namespace: ws, labels: {app: tos, workspace-id: newest}, annotations: {neutree.ai/replicas: "2"}}
spec: {replicas: 0}
`)
	w.write(t, "control-plane/002_workspaces.sql", "CREATE TABLE public.workspaces (id text PRIMARY KEY); INSERT INTO "+
		"public.workspaces VALUES ('known')")
	w.mustRun(t)
	first := w.summary
	w.mustRun(t)
	got := map[string]any{}
	for _, at := range []string{"deployments/tos-known", "deployments/tos-newer", "statefulsets/tos-newest"} {
		got[at] = w.server.Object("/apis/apps/v1/namespaces/ws/" + at).Object["spec"].(map[string]any)["replicas"]
	}
	want := map[string]any{"deployments/tos-known": int64(1), "deployments/tos-newer": int64(0),
		"statefulsets/tos-newest": int64(0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, words := range []string{"2 workspaces in namespace ws are unknown to the database",
		"workspace-id in (newer,newest)", "persistentVolumeReclaimPolicy"} {
		if !strings.Contains(w.log.String(), words) {
			t.Errorf("the log does not say %q:\n%s", words, w.log)
		}
	}
	counted := "; 2 workspaces in namespace ws are unknown to the database and were not started: the log names them"
	if !strings.HasSuffix(first, counted) {
		t.Errorf("the summary %q does not end with %q", first, counted)
	}
}

// Of very many only some are named, so that the message can be read.
func TestManyUnknownWorkspacesAreCounted(t *testing.T) {
	var objects strings.Builder
	objects.WriteString(cluster)
	for i := range 60 {
		fmt.Fprintf(&objects, `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-%[1]d, namespace: ws, labels: {app: tos, workspace-id: w%[1]d}, annotations: {neutree.ai/replicas: "1"}}
spec: {replicas: 0}
`, i)
	}
	w := newWorld(t, objects.String())
	w.write(t, "control-plane/002_workspaces.sql", "CREATE TABLE public.workspaces (id text PRIMARY KEY)")
	w.mustRun(t)
	for _, words := range []string{"60 workspaces in namespace ws are unknown", "and 10 more"} {
		if !strings.Contains(w.log.String(), words) {
			t.Errorf("the log does not say %q:\n%s", words, w.log)
		}
	}
}
