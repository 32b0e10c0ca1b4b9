//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/neutree-ai/packaging/internal/chart"
)

// Peers are what a values file says must be there. testdata/peers holds files for one that needs some:
//
//	NAME.yaml             objects in the release's namespace
//	NAME-workspaces.yaml  objects in the workspaces' namespace, which is then made beforehand
//	NAME-cluster.yaml     objects elsewhere
//
// and here stands what is more than objects.
var peers = map[string]func(*testing.T, *environment){
	"everything":       everythingPeers,
	"gateway":          gatewayAPI,
	"browser-balanced": gatewayAPI,
}

// fieldManager owns what these tests apply.
const fieldManager = "neutree-e2e"

// preparePeers makes what a values file needs outside its namespaces.
func (e *environment) preparePeers(t *testing.T, values string) {
	t.Helper()
	if prepare := peers[values]; prepare != nil {
		prepare(t, e)
	}
	e.applyFile(t, peersFile(t, values+"-cluster"))
}

func peersFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "peers", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// everythingPeers are an operator that is there already, and nodes for agents and for the database.
func everythingPeers(t *testing.T, e *environment) {
	t.Helper()
	operator := e.release(e.helm4, "cnpg", "cnpg-system")
	got := operator.run(t.Context(), 3*time.Minute, "upgrade", "--install", operator.name, filepath.Join(e.chart, "charts", "cloudnative-pg"),
		"--namespace", operator.namespace, "--create-namespace", "--wait", "--set", "crds.create=false")
	if got.err != nil {
		t.Fatalf("install the operator: %v\n%s", got.err, got.output)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if got := operator.uninstall(ctx); got.err != nil {
			t.Errorf("uninstall the operator: %v\n%s", got.err, got.output)
		}
		e.deleteNamespace(ctx, t, operator.namespace)
	})
	nodes, err := e.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		e.labelNode(t.Context(), t, node.Name, `"agents"`)
		t.Cleanup(func() { e.labelNode(context.Background(), t, node.Name, "null") })
	}
}

func (e *environment) labelNode(ctx context.Context, t *testing.T, node, pool string) {
	t.Helper()
	patch := []byte(`{"metadata":{"labels":{"pool":` + pool + `}}}`)
	if _, err := e.client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Errorf("label node %s: %v", node, err)
	}
}

// gatewayAPI brings the CustomResourceDefinitions of the Gateway API, from the module that its types come from.
func gatewayAPI(t *testing.T, e *environment) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatalf("find the Gateway API's module: %v", err)
	}
	for _, kind := range []string{"gateways", "httproutes"} {
		e.applyFile(t, filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "standard", "gateway.networking.k8s.io_"+kind+".yaml"))
	}
}

// applyCRDs brings the operator's CustomResourceDefinitions, as the chart would.
func (e *environment) applyCRDs(t *testing.T) {
	t.Helper()
	loaded, err := chart.Load(e.chart)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := chart.Render(loaded, chart.Options{Release: "crds", Namespace: metav1.NamespaceDefault, Kubernetes: e.kubernetes(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range rendered.Objects {
		if object.GetKind() == "CustomResourceDefinition" {
			e.applyPeer(t, object.Unstructured)
		}
	}
}

// kubernetes is the version of the cluster.
func (e *environment) kubernetes(t testing.TB) chart.Kubernetes {
	t.Helper()
	version, err := e.client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	return chart.Kubernetes{Version: version.GitVersion}
}

// applyFile applies the objects of a file until the test ends. A file that does not exist holds none.
func (e *environment) applyFile(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(object.Object) > 0 {
			e.applyPeer(t, object)
		}
	}
}

func (e *environment) applyPeer(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	client := e.clientFor(t, object, metav1.NamespaceDefault)
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	if _, err := client.Apply(t.Context(), object.GetName(), object, options); err != nil {
		t.Fatalf("apply %s %s: %v", object.GetKind(), object.GetName(), err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			return apierrors.IsNotFound(client.Delete(ctx, object.GetName(), metav1.DeleteOptions{})), nil
		})
		if err != nil {
			t.Errorf("delete %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	})
}

// clientFor is where an object lives: in its own namespace, or in the one given.
func (e *environment) clientFor(t testing.TB, object *unstructured.Unstructured, namespace string) dynamic.ResourceInterface {
	t.Helper()
	kind := object.GroupVersionKind()
	var mapping *meta.RESTMapping
	eventually(t, 20*time.Second, "the cluster knows "+kind.String(), func(context.Context) (bool, string) {
		found, err := e.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			// A CustomResourceDefinition may have come a moment ago.
			e.mapper.Reset()
			return false, err.Error()
		}
		mapping = found
		return true, ""
	})
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return e.dynamic.Resource(mapping.Resource)
	}
	if object.GetNamespace() != "" {
		namespace = object.GetNamespace()
	}
	return e.dynamic.Resource(mapping.Resource).Namespace(namespace)
}
