//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	"everything":        everythingPeers,
	"external-database": operatorPeer,
	"gateway":           gatewayAPI,
	"node-local":        controlPlaneNode,
	"sandbox":           openSandbox,
	"browser":           browserPeers,
	"browser-balanced":  balancedPeers,
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

// everythingPeers are an operator that is there already, the kinds of Prometheus' one, and nodes for agents.
func everythingPeers(t *testing.T, e *environment) {
	t.Helper()
	monitorKinds(t, e)
	operatorPeer(t, e)
	e.labelNodes(t, "pool", "agents")
}

// browserPeers are sandboxes, and a node for the relay.
func browserPeers(t *testing.T, e *environment) {
	t.Helper()
	openSandbox(t, e)
	e.labelNodes(t, "example.com/relay", "true")
}

// balancedPeers are sandboxes, the Gateway API, and somebody who gives Services of type LoadBalancer an address.
func balancedPeers(t *testing.T, e *environment) {
	t.Helper()
	gatewayAPI(t, e)
	openSandbox(t, e)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
			return false, e.giveAddresses(ctx)
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("give Services an address: %v", err)
		}
	})
}

func (e *environment) giveAddresses(ctx context.Context) error {
	services, err := e.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, service := range services.Items {
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer || len(service.Status.LoadBalancer.Ingress) > 0 {
			continue
		}
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.10"}}
		_, err := e.client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, &service, metav1.UpdateOptions{})
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func openSandbox(t *testing.T, e *environment) {
	t.Helper()
	e.applyFile(t, peersFile(t, "opensandbox"))
}

// operatorPeer is an operator of databases that serves the whole cluster.
func operatorPeer(t *testing.T, e *environment) {
	t.Helper()
	operator := e.release(e.helm4, "cnpg", "cnpg-system")
	copied := filepath.Join(t.TempDir(), "cloudnative-pg")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(e.chart, "charts", "cloudnative-pg"))); err != nil {
		t.Fatal(err)
	}
	// It does work on 1.28, and as a dependency its chart is not asked.
	replaceLine(t, filepath.Join(copied, "Chart.yaml"), "kubeVersion", func(string) string { return ">=1.28.0-0" })
	got := operator.run(t.Context(), 3*time.Minute, "upgrade", "--install", operator.name, copied,
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
}

// controlPlaneNode is the one node, of a cluster of one, that the platform's shared folder is on.
func controlPlaneNode(t *testing.T, e *environment) {
	t.Helper()
	const role = "node-role.kubernetes.io/control-plane"
	e.labelNode(t.Context(), t, e.nodeName, role, `""`)
	t.Cleanup(func() { e.labelNode(context.Background(), t, e.nodeName, role, "null") })
}

// labelNodes gives all nodes a label until the test ends.
func (e *environment) labelNodes(t *testing.T, key, value string) {
	t.Helper()
	nodes, err := e.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		e.labelNode(t.Context(), t, node.Name, key, strconv.Quote(value))
		t.Cleanup(func() { e.labelNode(context.Background(), t, node.Name, key, "null") })
	}
}

func (e *environment) labelNode(ctx context.Context, t *testing.T, node, key, value string) {
	t.Helper()
	patch := []byte(`{"metadata":{"labels":{` + strconv.Quote(key) + `:` + value + `}}}`)
	if _, err := e.client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Errorf("label node %s: %v", node, err)
	}
}

// giveDatabase adds to a file of objects for the release's namespace the Secrets that the operator made for the database
// next door, under the names and keys that the values file has, and returns where the whole is.
func (e *environment) giveDatabase(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects := bytes.NewBuffer(raw)
	for _, given := range []struct {
		from, to string
		keys     map[string]string
	}{
		{"postgres-app", "agents-role", map[string]string{"username": "role", "password": "secret"}},
		{"postgres-ca", "postgres-ca", map[string]string{"ca.crt": "ca.crt"}},
	} {
		eventually(t, 2*time.Minute, "Secret "+given.from, func(ctx context.Context) (bool, string) {
			made, err := e.client.CoreV1().Secrets("databases").Get(ctx, given.from, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			data := map[string][]byte{}
			for from, to := range given.keys {
				data[to] = made.Data[from]
			}
			secret := corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: given.to}, Data: data}
			raw, err := json.Marshal(secret)
			if err != nil {
				return false, err.Error()
			}
			fmt.Fprintf(objects, "---\n%s\n", raw)
			return true, ""
		})
	}
	whole := filepath.Join(t.TempDir(), "database.yaml")
	if err := os.WriteFile(whole, objects.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return whole
}

// gatewayAPI brings the CustomResourceDefinitions of the Gateway API, from the module that its types come from.
func gatewayAPI(t *testing.T, e *environment) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatalf("find the Gateway API's module: %v", err)
	}
	for _, kind := range []string{"backendtlspolicies", "gatewayclasses", "gateways", "grpcroutes", "httproutes", "referencegrants"} {
		e.applyFile(t, filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "standard", "gateway.networking.k8s.io_"+kind+".yaml"))
	}
}

// monitorKinds brings the CustomResourceDefinitions of monitors. The module that holds the real ones requires Prometheus
// itself, so these take any fields; test/chart reads the objects by the real types.
func monitorKinds(t *testing.T, e *environment) {
	t.Helper()
	e.applyFile(t, peersFile(t, "monitors"))
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
	e.applyFileIn(t, path, "")
}

// applyFileIn is applyFile for objects that belong in a namespace and do not say so.
func (e *environment) applyFileIn(t *testing.T, path, namespace string) {
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
			if namespace != "" && object.GetNamespace() == "" {
				object.SetNamespace(namespace)
			}
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
		err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
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
