package exposure

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func web(port int32) *requirement.Set {
	return &requirement.Set{NodePorts: []requirement.NodePort{
		{Service: "nap-cp", Namespace: "nap", Port: port, Protocol: corev1.ProtocolTCP, Value: "global.exposure.nodePorts.web"},
		{Service: "chosen-by-the-cluster", Namespace: "nap"},
	}}
}

func service(name, port string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: nap}\nspec: {type: NodePort, ports: [{port: 80, protocol: TCP, nodePort: " + port + "}]}"
}

func apiServer(argument string) string {
	return "{apiVersion: v1, kind: Pod, metadata: {name: kube-apiserver-a, namespace: kube-system, labels: {component: kube-apiserver}}, spec: {containers: [{name: kube-apiserver, command: [kube-apiserver, " + argument + "]}]}}"
}

const (
	namespaces = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}"
	hostPod    = `{apiVersion: v1, kind: Pod, metadata: {name: proxy, namespace: kube-system}, spec: {nodeName: a, containers: [{name: p, ports: [{hostPort: 30080, protocol: TCP}]}]}, status: {phase: Running}}`
)

func TestNodePortFree(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects []string
		refuse  string
		words   []string
	}{
		{name: "free", objects: []string{namespaces, service("other", "30081")}},
		{name: "one of preflight's own", objects: []string{namespaces, strings.Replace(service("other", "30080"), "{name", "{labels: {neutree.ai/preflight: x}, name", 1)}},
		{name: "our own", objects: []string{namespaces, service("nap-cp", "30080")}},
		{name: "taken by a Service", objects: []string{namespaces, service("other", "30080")}, words: []string{"node port 30080 for nap-cp is already taken by Service nap/other -> set global.exposure.nodePorts.web to a port that is free"}},
		{name: "taken by a pod", objects: []string{namespaces, hostPod}, words: []string{"is already taken by pod kube-system/proxy on node a, as host port"}},
		{name: "taken by one that can't be seen", objects: []string{namespaces}, refuse: `Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated`, words: []string{"is already taken by a Service that you may not see"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := kubetest.New(t, tc.objects...)
			if tc.refuse != "" {
				api.Refuse(-1, "POST", "/api/v1/namespaces/default/services", kubetest.Status(422, metav1.StatusReasonInvalid, tc.refuse))
			}
			checktest.Want(t, checktest.Run(t, Checks(), "exposure.node-port-free", checktest.Subject(t, api, web(30080))), tc.words...)
			for _, change := range api.Changes() {
				if !change.DryRun {
					t.Errorf("it changed something: %+v", change)
				}
			}
		})
	}
}

func TestNodePortRange(t *testing.T) {
	for _, tc := range []struct {
		name    string
		port    int32
		objects []string
		refuse  string
		words   []string
	}{
		{name: "inside", port: 30080},
		{name: "outside the usual range", port: 8080, words: []string{"warning: node port 8080 for nap-cp is outside 30000-32767"}},
		{name: "others are outside too", port: 8080, objects: []string{service("other", "8081")}},
		{name: "what the API server is started with", port: 8080, objects: []string{apiServer("--service-node-port-range=8000-9000")}},
		{name: "outside what the API server is started with", port: 30080, objects: []string{apiServer("--service-node-port-range=8000-9000")}, words: []string{"error: node port 30080 for nap-cp is outside 8000-9000, which this cluster allows -> set global.exposure.nodePorts.web to a port inside"}},
		{name: "the API server is told nothing", port: 8080, objects: []string{apiServer("--v=2")}, words: []string{"error: node port 8080 for nap-cp is outside 30000-32767, which this cluster allows"}},
		{name: "the API server says so", port: 30080, refuse: "provided port is not in the valid range. The range of valid ports is 31000-32000", words: []string{"node port 30080 for nap-cp is outside 31000-32000, which this cluster allows"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := kubetest.New(t, append(tc.objects, namespaces)...)
			if tc.refuse != "" {
				api.Refuse(-1, "POST", "/api/v1/namespaces/default/services", kubetest.Status(422, metav1.StatusReasonInvalid, tc.refuse))
			}
			checktest.Want(t, checktest.Run(t, Checks(), "exposure.node-port-range", checktest.Subject(t, api, web(tc.port))), tc.words...)
		})
	}
}
