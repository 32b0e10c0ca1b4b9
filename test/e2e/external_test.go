//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/platform"
)

var clusters = schema.GroupVersionResource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "clusters"}

// databases is the namespace of a PostgreSQL that is none of the release's business.
const databases = "databases"

// startDatabase asks the operator that is there for a PostgreSQL whose certificate an authority of its own signs.
func (e *environment) startDatabase(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: databases}}
	if _, err := e.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		e.deleteNamespace(ctx, t, databases)
	})
	cluster := newCluster("postgres", map[string]any{
		"bootstrap":  map[string]any{"initdb": map[string]any{"database": "agents", "owner": "agents"}},
		"postgresql": map[string]any{"parameters": map[string]any{"max_connections": "250"}},
	})
	if _, err := e.dynamic.Resource(clusters).Namespace(databases).Create(t.Context(), cluster, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// newCluster is a Cluster of one instance with the PostgreSQL that the chart has.
func newCluster(name string, more map[string]any) *unstructured.Unstructured {
	images := platform.Images()
	image := images[slices.IndexFunc(images, func(i platform.Image) bool { return i.Key == "postgresql" })]
	spec := map[string]any{"instances": int64(1), "imageName": image.Ref(), "storage": map[string]any{"size": "1Gi"}}
	maps.Copy(spec, more)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// giveDatabase hands the Secrets of that PostgreSQL to the release: a role's, under keys of their own, and the
// authority's. It waits until both are there.
func (r *release) giveDatabase(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	if _, err := r.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for source, given := range map[string]map[string]string{
		"postgres-app": {"username": "role", "password": "word"},
		"postgres-ca":  {"ca.crt": "authority.pem"},
	} {
		data := map[string][]byte{}
		eventually(t, 2*time.Minute, "Secret "+source, func(ctx context.Context) (bool, string) {
			secret, err := r.client.CoreV1().Secrets(databases).Get(ctx, source, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			for from, to := range given {
				data[to] = secret.Data[from]
			}
			return true, ""
		})
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "given-" + source}, Data: data}
		if _, err := r.client.CoreV1().Secrets(r.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A PostgreSQL from outside, known by a private authority's certificate, and a shared volume that is a folder of a
// node; the database's operator serves others. What can't be used is named in seconds.
func (e *environment) testExternal(t *testing.T) {
	r := e.release(e.helm3, "neutree", "nap-external")
	t.Cleanup(func() { r.purge(t) })
	volume := r.namespace + "-nap-shared"
	t.Cleanup(func() {
		if err := e.client.CoreV1().PersistentVolumes().Delete(context.Background(), volume, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	r.giveDatabase(t)
	nodes, err := e.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node := nodes.Items[0].Labels["kubernetes.io/hostname"]
	values := filepath.Join(t.TempDir(), "values.yaml")
	content := fmt.Sprintf(`
global:
  database:
    mode: external
    name: agents
    external: {host: postgres-rw.%[1]s.svc, existingSecret: given-postgres-app, userKey: role, passwordKey: word, caSecret: given-postgres-ca, caSecretKey: authority.pem}
  storage:
    shared:
      nodeLocal: {enabled: true, node: %[2]q, path: /var/lib/neutree-test/shared}
cloudnative-pg: {enabled: false}
`, databases, node)
	if err := os.WriteFile(values, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}

	wantRefused(t, r.upgrade(t.Context(), "--wait", "-f", values, "--set", "global.storage.shared.nodeLocal.node=nowhere"), time.Minute,
		"no node has the label kubernetes.io/hostname=nowhere", "global.storage.shared.nodeLocal.node")
	wantRefused(t, r.upgrade(t.Context(), "--wait", "-f", values, "--set", "global.database.external.caSecret="), time.Minute,
		"the external database refuses the connection", "global.database.external.caSecret")
	r.mustUpgrade(t, "--wait", "-f", values)
	session := r.login(t)
	created, _ := r.createWorkspace(t, session, "on-the-node")
	pods, err := r.client.CoreV1().Pods(r.workspaces()).List(t.Context(), metav1.ListOptions{LabelSelector: "workspace-id=" + created.ID})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Spec.NodeName != nodes.Items[0].Name {
		t.Errorf("the workspace does not run on %s, where its files are: %v %v", nodes.Items[0].Name, pods.Items, err)
	}
	wantRefused(t, r.upgrade(t.Context(), "--wait", "-f", values, "--set", "global.storage.shared.size=60Gi,global.storage.afsController.size=2Gi"), time.Minute,
		"claim afs-controller-db in namespace nap-external can't grow from 1Gi to 2Gi",
		"claim afs-shared-storage in namespace nap-external-workspaces can't grow from 50Gi to 60Gi, since its volume was made by hand",
		"global.storage.afsController.size")
	session.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
	r.mustUninstall(t)

	kept, err := r.client.CoreV1().PersistentVolumes().Get(t.Context(), volume, metav1.GetOptions{})
	if err != nil || kept.Status.Phase != corev1.VolumeBound {
		t.Errorf("PersistentVolume %s after an uninstall: %v, %v", volume, kept, err)
	}
	if _, err := e.dynamic.Resource(clusters).Namespace(databases).Get(t.Context(), "postgres", metav1.GetOptions{}); err != nil {
		t.Errorf("the database that is not ours, after an uninstall: %v", err)
	}
}
