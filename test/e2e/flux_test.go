//go:build e2e && gitops

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Images of the control plane that bring migrations: the first brings one that fails.
const (
	brokenImage = "global: {images: {controlPlane: {tag: v0.2.2-broken}}}"
	fixedImage  = "global: {images: {controlPlane: {tag: v0.2.2}}}"
	newestImage = "global: {images: {controlPlane: {tag: v0.3.0}}}"
)

// borrowing is a release that leaves the operator to another one.
const borrowing = newestImage + "\ncloudnative-pg: {enabled: false}"

// borrowingMore changes a setting of PostgreSQL, for which the operator has to restart it.
const borrowingMore = `
global: {images: {controlPlane: {tag: v0.3.0}}, database: {cnpg: {maxConnections: 310}}}
cloudnative-pg: {enabled: false}`

// The life of a release that Flux's own controllers make of the HelmRelease in docs/gitops.md.
func TestFlux(t *testing.T) {
	env := newEnvironment(t)
	f := &flux{release: env.release(env.helm4, "neutree", "nap")}
	env.meetNeighbours(t)
	env.applyNeighbour(t, "opensandbox", "opensandbox-server")
	t.Cleanup(func() { f.purge(t) })
	f.controllers = env.startFlux(t)
	t.Cleanup(func() { f.forget(t) })
	f.createNamespace(t, nil)

	f.create(t, f.chart, f.values(t, ""), nil)
	t.Logf("installed after %s", f.awaitReady(t))
	session := f.login(t)
	first, _ := f.createWorkspace(t, session, "by-flux")
	f.sql(t, "SET ROLE nap;"+rows)
	f.afsRows(t, "INSERT INTO dirs VALUES ('77aa', 'shared', '/data/afs/aa/77/77aa')")
	kept := f.data(t)
	// passes runs a part of the life, after which nothing may be lost.
	passes := func(name string, part func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			part(t)
			f.wantKept(t, kept)
			f.login(t)
			t.Logf("helm history:\n%s", f.history(t))
		})
	}

	passes("a second reconcile changes nothing", func(t *testing.T) { f.wantQuiet(t) })
	passes("a value changes what it is about", func(t *testing.T) {
		before := f.podIdentities(t)
		f.upgradeTo(t, f.values(t, "controlPlane: {cp: {extraEnv: [{name: BY_FLUX, value: 'yes'}]}}"))
		wantOnlyChanged(t, before, f.podIdentities(t), "nap/nap-cp-")
		f.wantQuiet(t)
	})
	passes("a module comes and goes", f.moduleComesAndGoes)
	passes("a Deployment scaled by hand is scaled back", f.driftIsHealed)
	passes("a restore", f.restores)
	passes("a migration that fails is rolled back, and a fixed image goes through", f.migrationFails)
	passes("the controller dies in the middle of an upgrade", f.controllerDies)
	operator := &flux{release: env.release(env.helm4, "cnpg", "cnpg-system"), controllers: f.controllers}
	t.Cleanup(func() {
		operator.forget(t)
		operator.purge(t)
	})
	passes("the operator is handed over", func(t *testing.T) { f.operatorIsHandedOver(t, operator) })

	t.Run("a HelmRelease that is deleted leaves the data", func(t *testing.T) {
		t.Logf("uninstalled after %s", f.remove(t))
		f.wantObjectsKept(t, kept)
		f.awaitNoPods(t)
	})
	passes("an install that fails is uninstalled, and a fixed one finds the data", func(t *testing.T) {
		f.installFails(t)
		f.waitWorkspace(t, first.ID)
	})
}

// wantQuiet asserts that another look of Flux at the release changes no object and no pod, and finds no drift.
func (f *flux) wantQuiet(t *testing.T) {
	t.Helper()
	spec, err := f.resource().Get(t.Context(), f.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	values, _ := spec.Object["spec"].(map[string]any)["values"].(map[string]any)
	objects := f.gitOps(t, values)
	versions, pods, drifts, history := objects.settled(t), f.podIdentities(t), f.drifts(t), f.history(t)
	t.Logf("reconciled after %s", f.reconcile(t))
	if diff := cmp.Diff(versions, objects.versions(t)); diff != "" {
		t.Errorf("objects changed (resource versions before and after):\n%s", diff)
	}
	if diff := cmp.Diff(pods, f.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after:\n%s", diff)
	}
	if diff := cmp.Diff(history, f.history(t)); diff != "" {
		t.Errorf("history before and after:\n%s", diff)
	}
	if now := f.drifts(t); now != drifts {
		t.Errorf("Flux found drift %d times:\n%s", now-drifts, f.controllers.helm.tail(t))
	}
}

func (f *flux) moduleComesAndGoes(t *testing.T) {
	before := f.objectNames(t)
	on := fmt.Sprintf(`
global: {modules: {sandbox: {enabled: true}}, publicUrls: {sandbox: "http://sandbox.nap.test:30086"}}
sandbox: {openSandbox: {url: "http://opensandbox-server.%s.svc"}}`, neighbours)
	f.upgradeTo(t, f.values(t, on))
	service := f.user(t, "http://sandbox.nap.test:30086", nil)
	service.makeSandbox(t, f.secretValue(t, "nap-sandbox-secret", "SERVICE_KEY"))
	f.wantQuiet(t)
	f.upgradeTo(t, f.values(t, ""))
	after := f.objectNames(t)
	for _, name := range []string{"secrets/nap-sandbox-secret", "persistentvolumeclaims/nap-backups"} {
		if !after[name] {
			t.Errorf("%s is gone", name)
		}
		delete(after, name)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("objects before the module and after it:\n%s", diff)
	}
}

// scale scales a Deployment as an administrator does.
func (f *flux) scale(t *testing.T, name string, replicas int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas)
	_, err := f.client.AppsV1().Deployments(f.namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *flux) driftIsHealed(t *testing.T) {
	before, drifts, history := f.scales(t), f.drifts(t), f.history(t)
	f.scale(t, "nap-cg", 0)
	t.Logf("reconciled after %s", f.reconcile(t))
	if diff := cmp.Diff(before, f.scales(t)); diff != "" {
		t.Errorf("replicas before and after:\n%s", diff)
	}
	if found := f.drifts(t) - drifts; found != 1 {
		t.Errorf("Flux found drift %d times, want 1:\n%s", found, f.controllers.helm.tail(t))
	}
	if diff := cmp.Diff(history, f.history(t)); diff != "" {
		t.Errorf("history before and after:\n%s", diff)
	}
	f.waitDeployments(t)
	f.wantQuiet(t)
}

// restores shows what a restore does while Flux heals drift, and while it is suspended.
func (f *flux) restores(t *testing.T) {
	before, dirs, scales := f.tables(t), f.afsRows(t), f.scales(t)
	name := strings.TrimSpace(f.plugin(t, 0, "", "backup", "create", "--reason", "flux").stdout)
	if err := backup.ValidateName(name); err != nil {
		t.Fatal(err)
	}
	f.sql(t, "SET ROLE nap;"+lateDamage)

	t.Run("is stopped where Flux starts services, and names it", func(t *testing.T) {
		restore := f.pluginCommand(t, "backup", "restore", name, "--yes")
		var said bytes.Buffer
		restore.Stderr = &said
		if err := restore.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Minute, "the restore stops the services", func(context.Context) (bool, string) {
			return f.scales(t)["nap-cp"] == 0, "the control plane is to run"
		})
		f.request(t)
		asked := time.Now()
		var exit *exec.ExitError
		if err := restore.Wait(); !errors.As(err, &exit) {
			t.Errorf("the restore ended with %v", err)
		}
		wantSaid(t, pluginResult{stderr: said.String()}, "helm-controller has scaled Deployment", "docs/gitops.md",
			"[backup.services-started")
		t.Logf("stopped %s after Flux was asked to look, with %v:\n%s", time.Since(asked), exit, &said)
		f.awaitReady(t)
	})
	t.Run("passes while Flux is suspended", func(t *testing.T) {
		f.change(t, func(spec map[string]any) { spec["suspend"] = true })
		drifts := f.drifts(t)
		got := f.plugin(t, 0, "", "backup", "restore", name, "--yes")
		t.Logf("restored after %s", got.took)
		if diff := cmp.Diff(scales, f.scales(t)); diff != "" {
			t.Errorf("replicas before and after:\n%s", diff)
		}
		if owners := f.replicasOwners(t); slices.Contains(owners, kube.FieldManager) {
			t.Errorf("replicas belong to %v", owners)
		}
		f.change(t, func(spec map[string]any) { delete(spec, "suspend") })
		t.Logf("resumed after %s", f.awaitReady(t))
		if now := f.drifts(t); now != drifts {
			t.Errorf("Flux found drift %d times after the restore:\n%s", now-drifts, f.controllers.helm.tail(t))
		}
	})
	if diff := cmp.Diff(before, f.tables(t)); diff != "" {
		t.Errorf("tables before the backup and after the restore:\n%s", diff)
	}
	if diff := cmp.Diff(dirs, f.afsRows(t)); diff != "" {
		t.Errorf("rows of AFS before the backup and after the restore:\n%s", diff)
	}
	f.wantQuiet(t)
}

func (f *flux) migrationFails(t *testing.T) {
	before := f.podIdentities(t)
	ctx, stop := context.WithTimeout(t.Context(), longestProbe)
	defer stop()
	var asked answers
	served := make(chan struct{})
	go func() {
		defer close(served)
		asked.collect(ctx, "http://"+f.nodeIP+":30080/healthz", 200*time.Millisecond)
	}()
	f.change(t, func(spec map[string]any) { spec["values"] = f.values(t, brokenImage) })
	message, took := f.awaitStalled(t)
	stop()
	<-served
	t.Logf("given up after %s, %s: %s", took, asked, message)
	if asked.failed > 0 || asked.asked == 0 {
		t.Errorf("the previous version does not serve all the while: %s", asked)
	}
	if diff := cmp.Diff(before, f.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after:\n%s", diff)
	}
	if history := f.history(t); !containsAll(lastLines(history), "deployed", "Rollback to") {
		t.Errorf("the release is not rolled back:\n%s", history)
	}
	if said := f.hookSaid(t); !strings.Contains(said, "133_") {
		t.Errorf("the hook does not name the migration: %s", said)
	}
	var list []backup.Entry
	if err := json.Unmarshal([]byte(f.plugin(t, 0, "", "backup", "list", "-o", "json").stdout), &list); err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		t.Logf("backup %s of schema %s", entry.Name, entry.Schema)
	}
	if !slices.ContainsFunc(list, func(e backup.Entry) bool { return strings.HasPrefix(e.Name, "before-r") }) {
		t.Error("no attempt left a backup of what was before it")
	}
	f.upgradeTo(t, f.values(t, fixedImage))
	f.wantQuiet(t)
}

// controllerDies has Flux upgrade with ten migrations and takes helm-controller away while hooks run.
func (f *flux) controllerDies(t *testing.T) {
	f.change(t, func(spec map[string]any) { spec["values"] = f.values(t, newestImage) })
	hooks := &faults{release: f.release}
	hooks.awaitHookPod(t, func(pod corev1.Pod) bool { return strings.Contains(pod.Name, "migrate") })
	f.controllers.helm.kill(t)
	if history := f.history(t); !strings.Contains(lastLines(history), "pending-upgrade") {
		t.Fatalf("the upgrade was over before the controller could be killed:\n%s", history)
	}
	f.controllers.helm.start(t)
	t.Logf("ready %s after the controller is back", f.awaitReady(t))
	// The description of one that Flux has unlocked says that it was pending.
	if history := f.history(t); strings.Contains(history, "\tpending-") {
		t.Errorf("a revision is left pending:\n%s", history)
	}
	database := f.openDatabase(t)
	ledger := query(t, database, "SELECT count(*)::text FROM public.schema_migrations WHERE id ~ '^1(3[2-9]|4[01])_'")
	f.closeDatabase(t)
	if ledger[0] != "10" {
		t.Errorf("%s of the ten migrations are recorded", ledger[0])
	}
	f.waitDeployments(t)
	f.wantQuiet(t)
}

// operatorIsHandedOver leaves CloudNativePG's operator to a HelmRelease of its own.
func (f *flux) operatorIsHandedOver(t *testing.T, operator *flux) {
	f.upgradeTo(t, f.values(t, borrowing))
	operator.createNamespace(t, nil)
	crdsKept := map[string]any{"crds": map[string]any{"create": false}}
	operator.create(t, filepath.Join(f.chart, "charts", "cloudnative-pg"), crdsKept, nil)
	t.Logf("the other operator is installed after %s", operator.awaitReady(t))
	// It looks after the database: what is deleted comes again.
	hooks := &faults{release: f.release}
	hooks.kill(t, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "nap-pg-1"}})
	took := eventually(t, 3*time.Minute, "the database is back", func(ctx context.Context) (bool, string) {
		pod, err := f.client.CoreV1().Pods(f.namespace).Get(ctx, "nap-pg-1", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return pod.DeletionTimestamp == nil && podReady(pod), describe(pod)
	})
	t.Logf("the other operator brought the database back after %s", took)
	// It reaches PostgreSQL, and the next revision knows where it runs.
	f.upgradeTo(t, f.values(t, borrowingMore))
	if connections := f.sql(t, "SHOW max_connections"); connections != "310" {
		t.Errorf("max_connections is %s under the other operator, want 310", connections)
	}
	f.wantOperatorFrom(t, operator.namespace)
	f.waitDeployments(t)
	f.wantQuiet(t)
}

func (f *flux) awaitNoPods(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "no pod is left", func(ctx context.Context) (bool, string) {
		for _, namespace := range []string{f.namespace, f.workspaces()} {
			pods, err := f.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
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

// installFails installs the release again on its data: first so that it cannot become ready, then as it should be.
func (f *flux) installFails(t *testing.T) {
	bad := f.values(t, borrowingMore+
		"\ncontrolPlane: {cp: {extraEnv: [{name: DATABASE_URL, value: 'postgresql://nap@127.0.0.1:1/nap'}]}}")
	f.create(t, f.chart, bad, func(spec map[string]any) {
		// Twice shows as much as four times.
		spec["install"] = map[string]any{"timeout": "1m", "remediation": map[string]any{"retries": int64(1)}}
	})
	message, took := f.awaitStalled(t)
	t.Logf("given up after %s: %s", took, message)
	f.change(t, func(spec map[string]any) {
		delete(spec["install"].(map[string]any), "timeout")
		spec["values"] = f.values(t, borrowingMore)
	})
	t.Logf("installed after %s", f.awaitReady(t))
	f.login(t).do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
}
