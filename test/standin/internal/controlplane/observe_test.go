package controlplane

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/neutree-ai/packaging/test/standin/internal/generation"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
	"github.com/neutree-ai/packaging/test/standin/internal/standintest"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

const (
	testNamespace = "nap-workspaces"
	testSecret    = "jwt-secret-of-the-test"
)

type fixture struct {
	*server
	fake   *fake.Clientset
	cookie *http.Cookie
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	client := fake.NewClientset()
	s := &server{
		options: options{contract: generation.Newer(), jwtSecret: testSecret, workspaces: workspace.Settings{
			Namespace: testNamespace, ImagePrefix: "r/nap-agent", ImageTag: "v1", MultiReplica: true,
			AFSController: "127.0.0.1:1", Coupled: map[string]string{"AGENT_IMAGE_TAG": "v1", "CP_SERVICE_URL": "http://nap-cp:3000"},
		}},
		pool: standintest.Pool(t, standintest.Migrated(t)), kube: client, log: slog.New(slog.DiscardHandler),
	}
	cookie, err := session.Cookie(testSecret, session.User{ID: "system", Username: "admin", Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	return fixture{s, client, cookie}
}

func (f fixture) ask(t *testing.T, method, path string) string {
	t.Helper()
	request := httptest.NewRequest(method, path, nil)
	request.AddCookie(f.cookie)
	answer := httptest.NewRecorder()
	f.web().ServeHTTP(answer, request)
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Code != http.StatusOK {
		t.Fatalf("%s %s answers %d: %s", method, path, answer.Code, body)
	}
	return string(body)
}

func (f fixture) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := f.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// place writes a workspace down and makes its objects, as the runner would.
func (f fixture) place(t *testing.T, id string, autoScaling bool, ready int32, annotations map[string]string) {
	t.Helper()
	f.exec(t, `INSERT INTO public.workspaces (id, owner_id, name, agent_type, auto_scaling) VALUES ($1, 'system', $1, 'codex', $2)`, id, autoScaling)
	f.exec(t, `INSERT INTO public.workspace_placements (workspace_id, environment_id, desired_state) VALUES ($1, 'builtin', 'running')`, id)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: testNamespace, Labels: workspace.Labels(id), Annotations: annotations}
	}
	ctx := context.Background()
	var err error
	if autoScaling {
		_, err = f.kube.AppsV1().StatefulSets(testNamespace).Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta("tos-" + id), Status: appsv1.StatefulSetStatus{ReadyReplicas: ready}}, metav1.CreateOptions{})
	} else {
		_, err = f.kube.AppsV1().Deployments(testNamespace).Create(ctx, &appsv1.Deployment{ObjectMeta: meta("tos-" + id), Status: appsv1.DeploymentStatus{ReadyReplicas: ready}}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []func() error{
		func() error {
			_, err := f.kube.CoreV1().Services(testNamespace).Create(ctx, &corev1.Service{ObjectMeta: meta("tos-" + id)}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := f.kube.CoreV1().Secrets(testNamespace).Create(ctx, &corev1.Secret{ObjectMeta: meta("tos-" + id + "-token")}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := f.kube.CoreV1().PersistentVolumeClaims(testNamespace).Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: meta("tos-" + id + "-workspace")}, metav1.CreateOptions{})
			return err
		},
	} {
		if err := object(); err != nil {
			t.Fatal(err)
		}
	}
	f.fake.ClearActions()
}

func TestStatusOfAWorkspace(t *testing.T) {
	f := newFixture(t)
	current := map[string]string{workspace.VersionAnnotation: generation.Newer().Template, workspace.ImageAnnotation: "r/nap-agent-codex:v1"}
	f.place(t, "fresh", false, 1, current)
	if text := f.ask(t, http.MethodGet, "/api/workspaces/fresh"); !strings.Contains(text, `"status":"running"`) || strings.Contains(text, "stale") {
		t.Errorf("a running workspace is %s", text)
	}
	f.place(t, "old", true, 1, map[string]string{workspace.VersionAnnotation: "6", workspace.ImageAnnotation: "r/nap-agent-codex:v0"})
	if text := f.ask(t, http.MethodGet, "/api/workspaces/old"); !strings.Contains(text, "template version 6, not 8") || !strings.Contains(text, "image r/nap-agent-codex:v0, not r/nap-agent-codex:v1") {
		t.Errorf("an old workspace is %s", text)
	}
	f.place(t, "stuck", false, 0, current)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "tos-stuck-x", Namespace: testNamespace, Labels: workspace.Labels("stuck")}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}}}}
	if _, err := f.kube.CoreV1().Pods(testNamespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.fake.ClearActions()
	if text := f.ask(t, http.MethodGet, "/api/workspaces/stuck"); !strings.Contains(text, `"status":"starting"`) || !strings.Contains(text, "agent: ErrImagePull: no such image") {
		t.Errorf("a workspace without an image is %s", text)
	}
	f.exec(t, `UPDATE public.workspace_placements SET desired_state = 'stopped' WHERE workspace_id IN ('stuck', 'fresh')`)
	if text := f.ask(t, http.MethodGet, "/api/workspaces/stuck"); !strings.Contains(text, `"status":"stopping"`) {
		t.Errorf("a workspace that stops is %s", text)
	}
	if text := f.ask(t, http.MethodGet, "/api/workspaces/fresh"); !strings.Contains(text, `"status":"stopped"`) {
		t.Errorf("a stopped workspace is %s", text)
	}
	standintest.CheckRights(t, "cp", f.fake.Actions())
}

func TestDeletedWorkspace(t *testing.T) {
	f := newFixture(t)
	for id, autoScaling := range map[string]bool{"one": false, "many": true} {
		f.place(t, id, autoScaling, 1, nil)
		f.ask(t, http.MethodDelete, "/api/workspaces/"+id)
		standintest.CheckRights(t, "cp", f.fake.Actions())
	}
	secrets, err := f.kube.CoreV1().Secrets(testNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(secrets.Items) != 0 {
		t.Errorf("%d Secrets are left, %v", len(secrets.Items), err)
	}
	claims, err := f.kube.CoreV1().PersistentVolumeClaims(testNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(claims.Items) != 0 {
		t.Errorf("%d claims are left, %v", len(claims.Items), err)
	}
	if text := f.ask(t, http.MethodGet, "/api/workspaces"); strings.TrimSpace(text) != "[]" {
		t.Errorf("workspaces that are left: %s", text)
	}
	var destroyed int
	if err := f.pool.QueryRow(t.Context(), `SELECT count(*) FROM public.workspace_placements WHERE desired_state = 'destroyed'`).Scan(&destroyed); err != nil || destroyed != 2 {
		t.Errorf("%d placements tell the runner to forget the workspace, %v, want 2", destroyed, err)
	}
}

func TestDrift(t *testing.T) {
	f := newFixture(t)
	if text := f.ask(t, http.MethodGet, "/api/admin/drift"); !strings.Contains(text, `"runnerOnline":false`) || !strings.Contains(text, `"inSync":false`) {
		t.Errorf("without a runner: %s", text)
	}
	f.exec(t, `UPDATE public.environments SET last_heartbeat_at = now(), settings = $1`, map[string]string{"AGENT_IMAGE_TAG": "v1", "CP_SERVICE_URL": "http://nap-cp.nap.svc:3000"})
	want := `"differences":[{"name":"CP_SERVICE_URL","controlPlane":"http://nap-cp:3000","runner":"http://nap-cp.nap.svc:3000"}],"inSync":false`
	if text := f.ask(t, http.MethodGet, "/api/admin/drift"); !strings.Contains(text, want) {
		t.Errorf("with another URL: %s, want %s", text, want)
	}
	f.exec(t, `UPDATE public.environments SET settings = $1`, f.workspaces.Coupled)
	if text := f.ask(t, http.MethodGet, "/api/admin/drift"); !strings.Contains(text, `"inSync":true`) {
		t.Errorf("with the same settings: %s", text)
	}
}

func TestWorkspaceToken(t *testing.T) {
	f := newFixture(t)
	f.place(t, "w1", false, 1, nil)
	f.exec(t, `INSERT INTO public.workspace_tokens (workspace_id, token_hash) VALUES ('w1', $1)`, session.TokenHash("tos_right"))
	api := httptest.NewServer(f.web())
	defer api.Close()
	verify := func(id, token string) error {
		return workspace.Identity{Contract: generation.Newer(), ID: id, Token: token}.Verify(t.Context(), api.URL, "skills")
	}
	if err := verify("w1", "tos_right"); err != nil {
		t.Error(err)
	}
	for token, want := range map[string]string{"tos_wrong": "answered 401", "tos_right": "the token is that of workspace w1, not w2"} {
		if err := verify("w2", token); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("token %s: %v, want %q", token, err, want)
		}
	}
}

// A workspace of one generation gets nothing from a control plane of the other, and says so.
func TestGenerationsDoNotMix(t *testing.T) {
	f := newFixture(t)
	f.place(t, "w1", false, 1, nil)
	f.exec(t, `INSERT INTO public.workspace_tokens (workspace_id, token_hash) VALUES ('w1', $1)`, session.TokenHash("tos_right"))
	both := map[string]generation.Contract{"v0.2.0": generation.Published(), "newer": generation.Newer()}
	for served, here := range both {
		f.server.contract = here
		api := httptest.NewServer(f.web())
		defer api.Close()
		for asking, there := range both {
			err := workspace.Identity{Contract: there, ID: "w1", Token: "tos_right"}.Verify(t.Context(), api.URL, "skills")
			if served == asking && err != nil {
				t.Errorf("%s: %v", served, err)
			}
			if served != asking && (err == nil || !strings.Contains(err.Error(), "answered 302")) {
				t.Errorf("a workspace of %s asks a control plane of %s: %v", asking, served, err)
			}
		}
	}
}
