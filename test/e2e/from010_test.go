//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/platform"
)

const (
	// newerTag is the tag of the stand-ins that speak the platform's newer contract. The chart's default tags are those of
	// services that speak v0.2.0's.
	newerTag = "e5ea8d0"
	// tagOf010 is the tag of the stand-ins as they were in version 0.1.0. They speak the newer contract.
	tagOf010 = "v0.2.0-packaging-0.1.0"
)

// of010 is the same cluster with the chart of version 0.1.0, whose images only the testbed has.
func (e *environment) of010(t *testing.T) *environment {
	t.Helper()
	old := *e
	if old.chart = os.Getenv("CHART_010"); old.chart == "" {
		t.Skip("CHART_010 is not set: upgrades from version 0.1.0 are tested on the testbed")
	}
	return &old
}

// servicesAt are values with another tag for each of the platform's services, which are versioned together.
func servicesAt(tag string) map[string]any {
	images := map[string]any{}
	all := slices.Concat(platform.Images(), platform.ModuleImages())
	services := all[slices.IndexFunc(all, func(i platform.Image) bool { return i.Key == "controlPlane" })].Tag
	for _, image := range all {
		if image.Tag == services {
			images[image.Key] = map[string]any{"tag": tag}
		}
	}
	return map[string]any{"global": map[string]any{"images": images}}
}

// valuesFile writes values to a file, for helm.
func valuesFile(t *testing.T, values map[string]any) string {
	t.Helper()
	content, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "values.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inUse is a release with a signed-in user and a running workspace.
type inUse struct {
	*release
	*session
	// kept is a workspace that runs all the while, direct the control plane's origin as workspaces see it.
	kept   workspace
	direct string
	// probed are the services that must answer all the while, where that is promised.
	probed map[string]string
}

// through does something to the release and asserts that its users lose nothing: the workspaces' pods, the rows and the
// Secrets stay the same, and the probed services answer every request.
func (u *inUse) through(t *testing.T, what string, do func()) {
	t.Helper()
	pods, secrets, names := u.workspacePods(t), u.secretData(t), u.workspaceNames(t)
	stop := func() map[string]answers { return nil }
	if u.probed != nil {
		stop = probe(t, u.probed)
	}
	do()
	for service, got := range stop() {
		t.Logf("%s: %s: %s", what, service, got)
		if got.failed > 0 || got.asked == 0 {
			t.Errorf("%s: requests to %s were lost: %s", what, service, got)
		}
	}
	if diff := cmp.Diff(pods, u.workspacePods(t)); diff != "" {
		t.Errorf("%s: pods of workspaces before and after:\n%s", what, diff)
	}
	after := u.secretData(t)
	for key := range after {
		// The address that services of 0.1.0 do not use comes with the first upgrade.
		if _, had := secrets[key]; !had && strings.HasSuffix(key, "-database/tls-url") {
			delete(after, key)
		}
	}
	if diff := cmp.Diff(secrets, after); diff != "" {
		t.Errorf("%s: Secrets before and after:\n%s", what, redact(diff))
	}
	if diff := cmp.Diff(names, u.workspaceNames(t)); diff != "" {
		t.Errorf("%s: workspaces before and after:\n%s", what, diff)
	}
}

// workspacePods are the pods of the workspaces, with their restarts.
func (u *inUse) workspacePods(t *testing.T) map[string]int32 {
	t.Helper()
	pods := u.podIdentities(t)
	maps.DeleteFunc(pods, func(name string, _ int32) bool { return !strings.HasPrefix(name, u.workspaces()+"/") })
	if len(pods) == 0 {
		t.Fatal("no workspace runs")
	}
	return pods
}

// token is what the kept workspace proves itself with, if it has any.
func (u *inUse) token(t *testing.T) string {
	t.Helper()
	secret, err := u.release.client.CoreV1().Secrets(u.workspaces()).Get(t.Context(), "tos-"+u.kept.ID+"-token", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(secret.Data["WORKSPACE_TOKEN"])
}

// wantCalls asserts what the control plane answers to a call of the kept workspace.
func (u *inUse) wantCalls(t *testing.T, path, token string, status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.direct+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != status {
		t.Errorf("the workspace's call of %s is answered with %d, want %d", path, answer.StatusCode, status)
	}
}

// wantRebuilt stops and starts the kept workspace, which rebuilds it by the newer contract, with a valid token.
func (u *inUse) wantRebuilt(t *testing.T) {
	t.Helper()
	var shown struct{ Stale []string }
	u.do(t, http.MethodGet, "/api/workspaces/"+u.kept.ID, nil, http.StatusOK, &shown)
	if !containsAll(strings.Join(shown.Stale, "; "), "template version 6, not 8") {
		t.Errorf("the control plane calls the workspace stale for %q", shown.Stale)
	}
	u.do(t, http.MethodPost, "/api/workspaces/"+u.kept.ID+"/stop", nil, http.StatusOK, nil)
	eventually(t, 2*time.Minute, "the workspace is stopped", func(ctx context.Context) (bool, string) {
		list, err := u.release.client.CoreV1().Pods(u.workspaces()).List(ctx, metav1.ListOptions{LabelSelector: "workspace-id=" + u.kept.ID})
		if err != nil {
			return false, err.Error()
		}
		return len(list.Items) == 0, fmt.Sprintf("%d pods", len(list.Items))
	})
	u.do(t, http.MethodPost, "/api/workspaces/"+u.kept.ID+"/start", nil, http.StatusOK, nil)
	u.waitWorkspace(t, u.kept.ID)
	u.wantCalls(t, "/workspace/v1/skills", u.token(t), http.StatusOK)
}

// A release of version 0.1.0 with nothing set is upgraded under the same images, rolled back, upgraded to images that
// speak the newer contract, and rolled back again: first by Helm 3, which installed it, then by Helm 4, as people do who
// move from the one to the other.
func TestFrom010(t *testing.T) {
	env := newEnvironment(t)
	old := env.of010(t).release(env.helm3, "neutree", "nap")
	under3, under4 := env.release(env.helm3, "neutree", "nap"), env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { under4.purge(t) })
	old.mustUpgrade(t, "--wait")
	u := &inUse{release: under3, session: under3.login(t)}
	u.kept, _ = u.createWorkspace(t, u.session, "kept")
	u.sql(t, "SET ROLE nap;"+rows)
	u.probed = u.expose(t)
	u.direct = strings.TrimSuffix(u.probed["nap-cp"], "/healthz")
	call := "/_cp/workspaces/" + u.kept.ID + "/skills"
	u.wantCalls(t, call, "", http.StatusOK)

	t.Run("Helm 3 upgrades under the same images", func(t *testing.T) {
		before := u.keptRows(t)
		asked := u.keepAsking("/login")
		u.through(t, "upgrade", func() {
			wantNotes(t, under3.mustUpgrade(t, "--wait"), "opens all paths of the control plane, /mcp and /metrics included")
		})
		// Users come by the port of the control plane itself, as before.
		u.wantPortKept(t, asked(), 0)
		if status, _ := u.ask(t, "/metrics"); status != http.StatusOK {
			t.Errorf("/metrics is answered with %d, and was open before", status)
		}
		// What existing workspaces may connect to stays as it is until a value is set.
		u.wantEgressPolicy(t, false)
		u.wantCalls(t, call, "", http.StatusOK)
		u.wantRows(t, before)
	})

	t.Run("Helm 3 rolls back to 0.1.0", func(t *testing.T) {
		before := u.keptRows(t)
		u.through(t, "rollback", func() { under3.rollback(t, "1") })
		u.wantCalls(t, call, "", http.StatusOK)
		u.wantRows(t, before)
		u.login(t)
	})

	t.Run("Helm 4 upgrades to the newer contract", func(t *testing.T) {
		before := u.keptRows(t)
		asked := u.keepAsking("/login")
		u.through(t, "upgrade", func() {
			under4.mustUpgrade(t, "--wait", "-f", valuesFile(t, servicesAt(newerTag)), "--set", "global.exposure.internalPaths=closed")
		})
		// The node port changes hands.
		u.wantPortKept(t, asked(), portGap)
		for _, path := range closedPaths {
			if status, text := u.ask(t, path); status != http.StatusNotFound {
				t.Errorf("%s is answered from outside, with %d: %s", path, status, text)
			}
		}
		u.wantRows(t, before)
		// The pod of v0.2.0 keeps running, and its calls end at the login page until it is rebuilt.
		u.wantCalls(t, call, "", http.StatusFound)
		u.wantRebuilt(t)
	})

	t.Run("Helm 4 rolls back to 0.1.0", func(t *testing.T) {
		before := u.keptRows(t)
		asked := u.keepAsking("/login")
		u.through(t, "rollback", func() { under4.rollback(t, "1") })
		u.wantPortKept(t, asked(), portGap)
		u.wantRows(t, before)
		u.login(t)
		u.wantCalls(t, call, "", http.StatusOK)
		u.wantCalls(t, "/workspace/v1/skills", u.token(t), http.StatusFound)
	})
}

// portGap is how long the node port may not answer when another Service gets it: until the first control plane that has
// the container behind it is ready, and, on the way back to version 0.1.0, from the beginning of its hook.
const portGap = time.Minute

// wantPortKept asserts how users fared who asked by the node port all the while.
func (u *inUse) wantPortKept(t *testing.T, got answers, gap time.Duration) {
	t.Helper()
	t.Logf("by the node port: %s", got)
	if got.asked == 0 || got.gap > gap && gap > 0 || gap == 0 && got.failed > 0 {
		t.Errorf("requests by the node port were lost: %s", got)
	}
}

// keptRows is a digest of the rows that users made, by table.
func (u *inUse) keptRows(t *testing.T) string {
	t.Helper()
	var queries []string
	for _, table := range []string{"users", "workspaces", "sessions", "session_messages", "user_credentials", "mcp_catalog", "skill_sources", "skill_versions"} {
		queries = append(queries, fmt.Sprintf("SELECT '%[1]s', count(*), md5(string_agg(r::text, '|' ORDER BY r::text)) FROM public.%[1]s r", table))
	}
	return u.sql(t, strings.Join(queries, " UNION ALL ")+" ORDER BY 1;")
}

func (u *inUse) wantRows(t *testing.T, before string) {
	t.Helper()
	if diff := cmp.Diff(before, u.keptRows(t)); diff != "" {
		t.Errorf("digests of the rows before and after:\n%s", diff)
	}
}

// A release of version 0.1.0 with everything set, whose workspaces speak the newer contract already: they keep their
// tokens through an upgrade of the chart, one of the images, and a rollback of both.
func TestFrom010Everything(t *testing.T) {
	env := newEnvironment(t)
	old := env.of010(t).release(env.helm4, "neutree", "nap")
	env.applyCRDs(t)
	env.preparePeers(t, "everything")
	r := env.release(env.helm4, "neutree", "nap")
	r.prefix, r.agents = "acme", "agents"
	t.Cleanup(func() { r.purge(t) })
	r.createNamespace(t, nil)
	env.applyFileIn(t, peersFile(t, "everything"), r.namespace)
	values := func(r *release, tag string) []string {
		return []string{"--wait", "-f", filepath.Join(r.chart, "ci", "everything-values.yaml"), "-f", valuesFile(t, servicesAt(tag))}
	}

	old.mustUpgrade(t, values(old, tagOf010)...)
	u := &inUse{release: r, direct: r.openPort(t, "acme-cp", 3000)}
	u.session = env.user(t, u.direct, nil)
	u.logIn(t, "root", "long-enough", http.StatusOK)
	u.kept, _ = r.createWorkspace(t, u.session, "kept")
	token := u.token(t)
	wantToken := func(t *testing.T) {
		t.Helper()
		u.wantCalls(t, "/workspace/v1/skills", token, http.StatusOK)
		if u.token(t) != token {
			t.Error("the workspace's Secret holds another token")
		}
		u.logIn(t, "root", "long-enough", http.StatusOK)
	}
	wantToken(t)
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"upgrade under the same images", func(t *testing.T) { r.mustUpgrade(t, values(r, tagOf010)...) }},
		{"upgrade of the images", func(t *testing.T) { r.mustUpgrade(t, values(r, newerTag)...) }},
		{"rollback to 0.1.0", func(t *testing.T) { r.rollback(t, "1") }},
	} {
		t.Run(step.name, func(t *testing.T) {
			u.through(t, step.name, func() { step.do(t) })
			wantToken(t)
		})
	}
}

// ArgoCD renders the chart without asking the cluster. It syncs version 0.1.0, then this chart under the same images, then
// images of the newer contract, and version 0.1.0 again.
func TestFrom010GitOps(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	old := env.of010(t).release(env.helm4, "neutree", "nap").gitOps(t, nil)
	tree, newer := r.gitOps(t, nil), r.gitOps(t, servicesAt(newerTag))
	t.Cleanup(func() {
		r.purge(t)
		old.deleteClusterScoped(t)
		tree.deleteClusterScoped(t)
	})
	r.createNamespace(t, nil)
	t.Logf("sync of 0.1.0: %s", old.run(t))
	u := &inUse{release: r, session: r.login(t)}
	u.kept, _ = r.createWorkspace(t, u.session, "kept")
	u.probed = r.expose(t)
	u.direct = strings.TrimSuffix(u.probed["nap-cp"], "/healthz")
	call := "/_cp/workspaces/" + u.kept.ID + "/skills"

	for _, step := range []struct {
		name   string
		sync   *gitOps
		status int
	}{
		{"under the same images", tree, http.StatusOK},
		{"with newer images", newer, http.StatusFound},
		// Going back by a sync is an upgrade to older images, and takes the value that says so.
		{"of 0.1.0 again", env.of010(t).release(env.helm4, r.name, r.namespace).gitOps(t, map[string]any{
			"global": map[string]any{"upgrade": map[string]any{"allowOlderImages": true}},
		}), http.StatusOK},
	} {
		t.Run("sync "+step.name, func(t *testing.T) {
			u.through(t, "sync "+step.name, func() { t.Logf("sync %s: %s", step.name, step.sync.run(t)) })
			u.wantCalls(t, call, "", step.status)
			r.login(t)
		})
	}
}
