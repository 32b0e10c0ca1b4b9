//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The life of the platform as an Application of ArgoCD with pruning, by ArgoCD's own engine. No step loses a row, a
// volume or a Secret.
func TestArgoCD(t *testing.T) {
	env := newEnvironment(t)
	a := env.argoApp(t)
	objects := a.gitOps(t, nil)
	t.Cleanup(func() {
		a.purge(t)
		objects.deleteClusterScoped(t)
	})

	a.sync(t, "--create-namespace")
	session := a.login(t)
	workspace, _ := a.createWorkspace(t, session, "by-argocd")
	a.sql(t, "SET ROLE nap;"+rows)
	a.afsRows(t, "INSERT INTO dirs VALUES ('77aa', 'shared', '/data/afs/aa/77/77aa')")

	// step runs one that loses nothing and ends with a platform that works. Names have no comma: Helm would read two
	// values files from one whose folder has it.
	step := func(name string, run func(t *testing.T)) {
		t.Helper()
		held := a.held(t)
		t.Run(name, func(t *testing.T) {
			run(t)
			wantHeld(t, held, a.held(t))
			a.login(t)
		})
	}

	step("a second sync changes nothing", func(t *testing.T) {
		versions, pods := objects.settled(t), a.podIdentities(t)
		a.sync(t)
		if diff := gocmp.Diff(versions, objects.versions(t)); diff != "" {
			t.Errorf("the second sync changed objects (resource versions before and after):\n%s", diff)
		}
		if diff := gocmp.Diff(pods, a.podIdentities(t)); diff != "" {
			t.Errorf("the second sync replaced pods:\n%s", diff)
		}
	})
	step("another value replaces its service alone", func(t *testing.T) {
		before := a.podIdentities(t)
		a.with(image("v0.2.1")).sync(t)
		a.waitDeployments(t)
		wantOnlyChanged(t, before, a.podIdentities(t), "nap/nap-cp-")
		a.values = image("v0.2.1")
	})
	step("a module comes and goes", a.wantModuleComesAndGoes)
	step("drift is healed", a.wantHealed)
	step("a restore stops while the Application heals itself and works once that is suspended", a.wantRestored)
	// By now there are Secrets of a module that is off, and the claim of backups.
	step("objects tracked by label as ArgoCD 2 does are kept by their marks", func(t *testing.T) {
		run := a.sync(t, "--tracking", "label")
		if pruned := run.named("result", "Pruned"); len(pruned) > 0 {
			t.Errorf("pruned: %v", pruned)
		}
		marks := []string{"Secret nap/nap-cp-secret", "Secret nap/nap-sandbox-secret", "PersistentVolumeClaim nap/nap-backups"}
		for _, marked := range marks {
			if !slices.Contains(run.named("result", "PruneSkipped"), marked) {
				t.Errorf("%s was not kept by its mark:\n%s", marked, run.text())
			}
		}
	})
	step("a migration that fails replaces nothing and the fixed image goes through", a.wantMigrationRefused)
	step("the operator leaves for another one and comes back", a.wantOperatorHandedOver)

	held := a.heldObjects(t)
	t.Run("a deleted Application keeps the data", func(t *testing.T) {
		run := a.do(t, "delete")
		if run.err != nil {
			t.Fatalf("delete: %v\n%s\n%s", run.err, run.stderr.String(), run.text())
		}
		t.Logf("delete: %.1f s, kept %v", run.operations()[0].Seconds, run.named("kept", ""))
		wantHeld(t, held, a.heldObjects(t))
		a.wantStopped(t)
	})
	t.Run("a new Application finds it", func(t *testing.T) {
		a.sync(t)
		wantHeld(t, held, a.heldObjects(t))
		session := a.login(t)
		if diff := gocmp.Diff("by-argocd", session.workspaceNames(t)[workspace.ID]); diff != "" {
			t.Error(diff)
		}
		a.waitWorkspace(t, workspace.ID)
	})
}

// wantModuleComesAndGoes turns sandboxes on and off.
func (a *argoApp) wantModuleComesAndGoes(t *testing.T) {
	a.meetNeighbours(t)
	a.applyNeighbour(t, "opensandbox", "opensandbox-server")
	before := a.objectNames(t)
	global := map[string]any{"modules": map[string]any{"sandbox": map[string]any{"enabled": true}}}
	for key, value := range a.values["global"].(map[string]any) {
		global[key] = value
	}
	a.with(map[string]any{
		"global":  global,
		"sandbox": map[string]any{"openSandbox": map[string]any{"url": "http://opensandbox-server." + neighbours + ".svc"}},
	}).sync(t)
	a.waitDeployments(t)
	key := a.secretValue(t, "nap-sandbox-secret", "SERVICE_KEY")
	off := a.sync(t)
	if pruned := off.named("result", "Pruned"); len(pruned) == 0 {
		t.Errorf("nothing was pruned:\n%s", off.text())
	}
	if got := a.secretValue(t, "nap-sandbox-secret", "SERVICE_KEY"); got != key {
		t.Error("the module's key is another")
	}
	after := a.objectNames(t)
	delete(after, "secrets/nap-sandbox-secret")
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("objects before the module and after it:\n%s", diff)
	}
}

// wantHealed changes objects as a person would who does not know of the Application.
func (a *argoApp) wantHealed(t *testing.T) {
	run := a.heal(t)
	for _, replicas := range []string{"0", "3"} {
		patch := []byte(`{"spec": {"replicas": ` + replicas + `}}`)
		_, err := a.client.AppsV1().Deployments(a.namespace).Patch(t.Context(), "nap-cg", asMerge, patch, metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		took := eventually(t, time.Minute, "the channel gateway has one replica again", func(context.Context) (bool, string) {
			replicas := a.scales(t)["nap-cg"]
			return replicas == 1, fmt.Sprintf("it has %d", replicas)
		})
		t.Logf("scaled to %s, and healed after %s", replicas, took)
	}
	if err := a.client.CoreV1().Services(a.namespace).Delete(t.Context(), "nap-skills", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, time.Minute, "the deleted Service is there again", func(ctx context.Context) (bool, string) {
		_, err := a.client.CoreV1().Services(a.namespace).Get(ctx, "nap-skills", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	t.Logf("a deleted Service was healed after %s", took)
	run.stop()
	if run.err != nil {
		t.Errorf("healing ended: %v\n%s\n%s", run.err, run.stderr.String(), run.text())
	}
	want := []string{"Deployment.apps nap/nap-cg", "Service nap/nap-skills"}
	if diff := gocmp.Diff(want, run.named("drift", "")); diff != "" {
		t.Errorf("what has drifted (-want +got):\n%s", diff)
	}
	a.waitDeployments(t)
}

// wantRestored restores a backup while an Application heals itself, and while it does not.
func (a *argoApp) wantRestored(t *testing.T) {
	made := strings.TrimSpace(a.plugin(t, 0, "", "backup", "create", "--reason", "argocd").stdout)
	scales := a.scales(t)
	healing := a.heal(t)
	a.sql(t, "DELETE FROM public.session_messages WHERE id % 2 = 0")
	restore := a.pluginCommand(t, "backup", "restore", made, "--yes")
	output, err := restore.CombinedOutput()
	// It depends on how far it has come whether the services run again or stand still.
	if code := restore.ProcessState.ExitCode(); code != 2 && code != 3 {
		t.Errorf("a restore while the Application heals itself ends with %d, %v", code, err)
	}
	if !containsAll(string(output), "argocd-controller has scaled Deployment", "docs/gitops.md") {
		t.Errorf("the restore does not name the tool:\n%s", output)
	}
	t.Logf("a restore while the Application heals itself:\n%s", output)
	healing.stop()

	killed := a.release.start(t, "backup", "restore", made, "--yes")
	eventually(t, 2*time.Minute, "the Job restores", func(ctx context.Context) (bool, string) {
		_, err := a.client.BatchV1().Jobs(a.namespace).Get(ctx, "nap-restore", metav1.GetOptions{})
		return err == nil, "there is no Job"
	})
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	if refused := a.do(t, "sync", "--prune"); refused.err == nil {
		t.Error("a sync in the middle of a restore was not refused")
	}
	if said := a.hookSaid(t); !strings.Contains(said, "helm neutree backup restore "+made) {
		t.Errorf("the refused sync does not say what to do: %s", said)
	}
	got := a.plugin(t, 0, "", "backup", "restore", made, "--yes")
	t.Logf("a restore while healing is suspended: %s", got.took)
	if diff := gocmp.Diff(scales, a.scales(t)); diff != "" {
		t.Errorf("replicas before and after:\n%s", diff)
	}
	a.sync(t)
}

// hookSaid is what the hook before a sync, or an upgrade, said last.
func (r *release) hookSaid(t *testing.T) string {
	t.Helper()
	options := metav1.ListOptions{LabelSelector: "job-name=nap-prepare"}
	pods, err := r.client.CoreV1().Pods(r.namespace).List(t.Context(), options)
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("there is no pod of nap-prepare: %v", err)
	}
	newest := slices.MaxFunc(pods.Items, func(x, y corev1.Pod) int {
		return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
	})
	var said string
	for _, status := range newest.Status.ContainerStatuses {
		if status.State.Terminated != nil {
			said += status.State.Terminated.Message
		}
	}
	return said
}

// wantMigrationRefused syncs to an image whose migration fails.
func (a *argoApp) wantMigrationRefused(t *testing.T) {
	before, versions := a.podIdentities(t), a.gitOps(t, a.values).settled(t)
	run := a.with(image("v0.2.2-broken")).do(t, "sync", "--prune")
	if run.err == nil {
		t.Fatalf("the sync succeeded:\n%s", run.text())
	}
	t.Logf("refused: %s\n%s", run.stderr.String(), run.text())
	if !strings.Contains(run.text(), "nap-prepare") {
		t.Errorf("the sync does not name the hook:\n%s", run.text())
	}
	if said := a.hookSaid(t); !strings.Contains(said, "133_") {
		t.Errorf("the hook does not name the migration: %s", said)
	}
	if diff := gocmp.Diff(before, a.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after the failed sync:\n%s", diff)
	}
	if diff := gocmp.Diff(versions, a.gitOps(t, a.values).versions(t)); diff != "" {
		t.Errorf("objects before and after the failed sync:\n%s", diff)
	}
	a.login(t).do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
	a.with(image("v0.2.2")).sync(t)
	a.waitDeployments(t)
	wantOnlyChanged(t, before, a.podIdentities(t), "nap/nap-cp-")
	a.values = image("v0.2.2")
}

// wantOperatorHandedOver takes the operator out of the Application, has another release bring it, and takes it back.
func (a *argoApp) wantOperatorHandedOver(t *testing.T) {
	bundled := a.values
	global := map[string]any{"database": map[string]any{"cnpg": map[string]any{"operatorNamespace": "cnpg-system"}}}
	for key, value := range a.values["global"].(map[string]any) {
		global[key] = value
	}
	a.values = map[string]any{"global": global, "cloudnative-pg": map[string]any{"enabled": false}}
	run := a.sync(t)
	if !slices.Contains(run.named("result", "Pruned"), "Deployment.apps nap/neutree-cloudnative-pg") {
		t.Errorf("the operator was not pruned:\n%s", run.text())
	}
	operator := a.release.environment.release(a.helm4, "cnpg", "cnpg-system")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		operator.deleteNamespace(ctx, t, operator.namespace)
	})
	got := operator.run(t.Context(), 3*time.Minute, "install", operator.name, filepath.Join(a.chart, "charts", "cloudnative-pg"),
		"--namespace", operator.namespace, "--create-namespace", "--wait", "--set", "crds.create=false")
	if got.err != nil {
		t.Fatalf("install the other operator: %v\n%s", got.err, got.output)
	}
	global["database"].(map[string]any)["cnpg"].(map[string]any)["maxConnections"] = 310
	a.sync(t)
	if connections := a.sql(t, "SHOW max_connections"); connections != "310" {
		t.Errorf("max_connections is %s under the other operator, want 310", connections)
	}
	if got := operator.uninstall(t.Context()); got.err != nil {
		t.Fatalf("uninstall the other operator: %v\n%s", got.err, got.output)
	}
	a.values = bundled
	a.sync(t)
	a.waitDeployments(t)
}

// wantStopped asserts that the deletion left nothing running.
func (a *argoApp) wantStopped(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "no pod is left", func(ctx context.Context) (bool, string) {
		for _, namespace := range []string{a.namespace, a.workspaces()} {
			pods, err := a.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, err.Error()
			}
			for _, pod := range pods.Items {
				return false, fmt.Sprintf("%s/%s is there", namespace, pod.Name)
			}
		}
		return true, ""
	})
}
