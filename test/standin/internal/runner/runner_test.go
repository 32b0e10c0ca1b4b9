package runner

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/neutree-ai/packaging/test/standin/internal/generation"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
	"github.com/neutree-ai/packaging/test/standin/internal/standintest"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

const namespace = "nap-workspaces"

type fixture struct {
	*runner
	fake *fake.Clientset
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	client := fake.NewClientset()
	r := &runner{
		Settings: workspace.Settings{
			Namespace: namespace, ControlPlaneURL: "http://nap-cp.nap.svc:3000",
			ImagePrefix: "r/nap-agent", ImageTag: "v1", StorageClass: "fast", StorageSize: "10Gi", PullSecret: "regcred",
			NodeSelector: map[string]string{"pool": "agents"}, AFSImage: "r/afs:1", MemoryImage: "r/memory:1",
			AFSController: "afs-controller.nap.svc:9100", AFSFuseServer: "127.0.0.1:9101",
			AFSClaim: "afs-shared-storage", AFSConfig: "afs-fuse-config", Coupled: map[string]string{"K8S_NAMESPACE": namespace},
		},
		contract: generation.Newer(),
		pool:     standintest.Pool(t, standintest.Migrated(t)), kube: client, log: slog.New(slog.DiscardHandler),
	}
	return fixture{r, client}
}

func (f fixture) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := f.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) place(t *testing.T, id string, autoScaling bool) {
	t.Helper()
	f.exec(t, `INSERT INTO public.workspaces (id, owner_id, name, agent_type, auto_scaling) VALUES ($1, 'system', $1, 'codex', $2)`, id, autoScaling)
	f.exec(t, `INSERT INTO public.workspace_placements (workspace_id, environment_id, desired_state) VALUES ($1, 'builtin', 'running')`, id)
}

func (f fixture) want(t *testing.T, id, desired string) {
	t.Helper()
	f.exec(t, `UPDATE public.workspace_placements SET desired_state = $2, generation = generation + 1 WHERE workspace_id = $1`, id, desired)
}

func (f fixture) mustRound(t *testing.T) {
	t.Helper()
	if err := f.round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLifeOfAWorkspace(t *testing.T) {
	f := newFixture(t)
	f.place(t, "w1", false)
	f.mustRound(t)

	ctx := t.Context()
	deployment, err := f.kube.AppsV1().Deployments(namespace).Get(ctx, "tos-w1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template.Spec
	var images []string
	for _, container := range pod.Containers {
		images = append(images, container.Image)
	}
	if want := []string{"r/nap-agent-codex:v1", "r/afs:1", "r/memory:1"}; !slices.Equal(images, want) {
		t.Errorf("images %v, want %v", images, want)
	}
	if pod.ImagePullSecrets[0].Name != "regcred" || pod.NodeSelector["pool"] != "agents" {
		t.Errorf("pull secret and node selector are not passed on: %v", pod)
	}
	claim, err := f.kube.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, "tos-w1-workspace", metav1.GetOptions{})
	if err != nil || *claim.Spec.StorageClassName != "fast" || claim.Spec.AccessModes[0] != corev1.ReadWriteOnce {
		t.Errorf("claim %v, %v", claim, err)
	}
	first := f.token(t, "w1")
	f.mustRound(t)
	if f.token(t, "w1") != first {
		t.Error("a round without a change minted another token")
	}

	f.want(t, "w1", workspace.Stopped)
	f.mustRound(t)
	deployment, err = f.kube.AppsV1().Deployments(namespace).Get(ctx, "tos-w1", metav1.GetOptions{})
	if err != nil || *deployment.Spec.Replicas != 0 {
		t.Errorf("after a stop there are %v replicas, %v", deployment.Spec.Replicas, err)
	}
	if _, err := f.kube.CoreV1().Services(namespace).Get(ctx, "tos-w1", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after a stop the Service is there: %v", err)
	}

	f.want(t, "w1", workspace.Running)
	f.mustRound(t)
	deployment, err = f.kube.AppsV1().Deployments(namespace).Get(ctx, "tos-w1", metav1.GetOptions{})
	if err != nil || *deployment.Spec.Replicas != 1 {
		t.Errorf("after a start there are %v replicas, %v", deployment.Spec.Replicas, err)
	}
	if f.token(t, "w1") == first {
		t.Error("a start did not mint another token")
	}

	f.want(t, "w1", workspace.Destroyed)
	f.mustRound(t)
	f.checkNothingLeft(t)
	standintest.CheckRights(t, "env-runner-k8s", f.fake.Actions())
}

// token reads a workspace's token, which the control plane must know by its hash.
func (f fixture) token(t *testing.T, id string) string {
	t.Helper()
	secret, err := f.fake.Tracker().Get(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, namespace, "tos-"+id+"-token")
	if err != nil {
		t.Fatal(err)
	}
	token := secret.(*corev1.Secret).StringData["WORKSPACE_TOKEN"]
	var owner string
	if err := f.pool.QueryRow(t.Context(), `SELECT workspace_id FROM public.workspace_tokens WHERE token_hash = $1`, session.TokenHash(token)).Scan(&owner); err != nil || owner != id {
		t.Fatalf("the token in the Secret belongs to %q in the database: %v", owner, err)
	}
	return token
}

func (f fixture) checkNothingLeft(t *testing.T) {
	t.Helper()
	for gvr, kind := range map[schema.GroupVersionResource]string{
		{Group: "apps", Version: "v1", Resource: "deployments"}:  "Deployment",
		{Group: "apps", Version: "v1", Resource: "statefulsets"}: "StatefulSet",
		{Version: "v1", Resource: "services"}:                    "Service",
		{Version: "v1", Resource: "secrets"}:                     "Secret",
		{Version: "v1", Resource: "persistentvolumeclaims"}:      "PersistentVolumeClaim",
	} {
		list, err := f.fake.Tracker().List(gvr, gvr.GroupVersion().WithKind(kind), namespace)
		if err != nil {
			t.Fatal(err)
		}
		if left := meta.LenList(list); left != 0 {
			t.Errorf("%d objects of kind %s are left", left, kind)
		}
	}
	var rows int
	if err := f.pool.QueryRow(context.Background(), `SELECT count(*) FROM public.workspaces`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d workspaces are left in the database, %v", rows, err)
	}
}

// What the env runner of v0.2.0 makes knows no token, and it uses neither Secrets nor StatefulSets.
func TestPublishedWorkspace(t *testing.T) {
	f := newFixture(t)
	f.runner.contract = generation.Published()
	f.place(t, "w1", false)
	f.mustRound(t)
	deployment, err := f.kube.AppsV1().Deployments(namespace).Get(t.Context(), "tos-w1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := deployment.Annotations[workspace.VersionAnnotation]; got != "6" {
		t.Errorf("the pod template is of version %q", got)
	}
	env := map[string]string{}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		for _, variable := range container.Env {
			env[variable.Name] = variable.Value
		}
	}
	for _, name := range []string{"WORKSPACE_TOKEN", "AFS_BOOTSTRAP_TOKEN"} {
		if _, given := env[name]; given {
			t.Errorf("the pod is given %s", name)
		}
	}
	if got, want := env["AFS_BOOTSTRAP_URL"], "http://nap-cp.nap.svc:3000/_cp/workspaces/w1/afs/mounts"; got != want {
		t.Errorf("AFS_BOOTSTRAP_URL is %s, want %s", got, want)
	}
	for _, desired := range []string{workspace.Stopped, workspace.Running, workspace.Destroyed} {
		f.want(t, "w1", desired)
		f.mustRound(t)
	}
	f.checkNothingLeft(t)
	for _, action := range f.fake.Actions() {
		if resource := action.GetResource().Resource; resource == "secrets" || resource == "statefulsets" {
			t.Errorf("%s %s", action.GetVerb(), resource)
		}
	}
	f.place(t, "w2", true)
	if err := f.round(t.Context()); err == nil || !strings.Contains(err.Error(), "several replicas") {
		t.Errorf("a workspace with several replicas: %v", err)
	}
}

func TestSeveralReplicas(t *testing.T) {
	f := newFixture(t)
	f.place(t, "w2", true)
	f.mustRound(t)
	set, err := f.kube.AppsV1().StatefulSets(namespace).Get(t.Context(), "tos-w2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if set.Spec.ServiceName != "tos-w2-hl" || len(set.Spec.VolumeClaimTemplates) != 0 {
		t.Errorf("the StatefulSet is not as the platform makes it: %v", set.Spec)
	}
	for _, desired := range []string{workspace.Stopped, workspace.Running, workspace.Destroyed} {
		f.want(t, "w2", desired)
		f.mustRound(t)
	}
	f.checkNothingLeft(t)
	standintest.CheckRights(t, "env-runner-k8s", f.fake.Actions())
}

// A workspace whose Deployment vanished can only be stopped by a runner that may ask for StatefulSets.
func TestStatefulSetRightsAreNeeded(t *testing.T) {
	f := newFixture(t)
	f.place(t, "w3", false)
	f.want(t, "w3", workspace.Stopped)
	f.fake.PrependReactor("get", "statefulsets", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "statefulsets"}, "tos-w3", nil)
	})
	err := f.round(t.Context())
	if err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Fatalf("a runner without the right to read StatefulSets: %v", err)
	}
	var message string
	if err := f.pool.QueryRow(t.Context(), `SELECT message FROM public.workspace_placements WHERE workspace_id = 'w3'`).Scan(&message); err != nil || !strings.Contains(message, "forbidden") {
		t.Errorf("the cause is not recorded: %q, %v", message, err)
	}
}

func TestHeartbeat(t *testing.T) {
	f := newFixture(t)
	f.mustRound(t)
	var recent bool
	var settings map[string]string
	err := f.pool.QueryRow(t.Context(), `SELECT last_heartbeat_at > now() - interval '1 minute', settings FROM public.environments WHERE id = 'builtin'`).Scan(&recent, &settings)
	if err != nil || !recent || settings["K8S_NAMESPACE"] != namespace {
		t.Errorf("recent %v, settings %v, %v", recent, settings, err)
	}
}
