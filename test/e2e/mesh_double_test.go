//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// proxyName is the container that a mesh adds to a pod, and inMesh the label by which its policies know such pods.
	proxyName = "mesh-proxy"
	inMesh    = "mesh-double"
)

var peerAuthentications = schema.GroupVersionResource{
	Group: "security.istio.io", Version: "v1", Resource: "peerauthentications",
}

// mesh is a double of Istio or Linkerd in one namespace. To every pod that does not opt out it adds a container that never
// ends. What connects to such a pod from a pod without one it refuses, as a mesh does that requires mutual TLS, except on
// the ports that a PeerAuthentication or an annotation opens. The connections of init containers, which a real mesh would
// refuse too, it lets pass. No other NetworkPolicy may hold in the namespace, since these add up.
type mesh struct {
	*environment
	kind, namespace string

	mu sync.Mutex
	// passed are the pods that opted out, by what they are named after.
	passed map[string]bool
}

// startMesh serves the webhook from this process, on the address from which it reaches the API server.
func (e *environment) startMesh(t *testing.T, kind, namespace string) *mesh {
	t.Helper()
	m := &mesh{environment: e, kind: kind, namespace: namespace, passed: map[string]bool{}}
	host := ownAddress(t, e.config.Host)
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	own := newAuthority(t)
	pair := own.sign(t, host)
	certificate, err := tls.X509KeyPair([]byte(pair["tls.crt"]), []byte(pair["tls.key"]))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(m.review))
	_ = server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	m.register(t, "https://"+listener.Addr().String(), own.pem)
	m.require(t, inMesh+"-strict", map[string]string{inMesh: "strict"}, networkingv1.NetworkPolicyIngressRule{
		From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: inMesh, Operator: metav1.LabelSelectorOpExists}},
		}}},
	})
	ctx, stop := context.WithCancel(context.Background())
	var heeded sync.WaitGroup
	heeded.Go(func() { m.heed(ctx, t) })
	t.Cleanup(func() { stop(); heeded.Wait() })
	return m
}

// ownAddress is the address of this machine that another one sees.
func ownAddress(t *testing.T, server string) string {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := net.Dial("udp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	return connection.LocalAddr().(*net.UDPAddr).IP.String()
}

func (m *mesh) register(t *testing.T, url, authority string) {
	t.Helper()
	webhooks := m.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	_, err := webhooks.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: inMesh},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "pods.mesh-double.test", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: []byte(authority)},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: m.namespace}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := webhooks.Delete(context.Background(), inMesh, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete the webhook of the mesh: %v", err)
		}
	})
}

// require adds a policy for pods of the mesh.
func (m *mesh) require(t *testing.T, name string, pods map[string]string, rule networkingv1.NetworkPolicyIngressRule) {
	t.Helper()
	_, err := m.client.NetworkingV1().NetworkPolicies(m.namespace).Create(context.Background(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: pods}, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{rule},
		},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Errorf("policy %s of the mesh: %v", name, err)
	}
}

// heed opens the ports that PeerAuthentications set to PERMISSIVE, as they come.
func (m *mesh) heed(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		list, err := m.dynamic.Resource(peerAuthentications).Namespace(m.namespace).List(ctx, metav1.ListOptions{})
		if err == nil {
			for _, object := range list.Items {
				m.open(t, &object)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (m *mesh) open(t *testing.T, object *unstructured.Unstructured) {
	pods, _, _ := unstructured.NestedStringMap(object.Object, "spec", "selector", "matchLabels")
	ports, _, _ := unstructured.NestedMap(object.Object, "spec", "portLevelMtls")
	rule := networkingv1.NetworkPolicyIngressRule{}
	for text, of := range ports {
		number, err := strconv.ParseInt(text, 10, 32)
		mode, _ := of.(map[string]any)
		if err != nil || mode["mode"] != "PERMISSIVE" {
			t.Errorf("PeerAuthentication %s: port %q: %v", object.GetName(), text, of)
			continue
		}
		port := intstr.FromInt32(int32(number))
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Port: &port})
	}
	if len(pods) == 0 || len(rule.Ports) == 0 {
		t.Errorf("PeerAuthentication %s opens nothing, or everything: %v", object.GetName(), object.Object["spec"])
		return
	}
	m.require(t, inMesh+"-"+object.GetName(), pods, rule)
}

// optsOut says whether a pod gets no proxy. Istio asks the label first.
func (m *mesh) optsOut(pod *corev1.Pod) bool {
	if m.kind == "linkerd" {
		return pod.Annotations["linkerd.io/inject"] == "disabled"
	}
	if label, has := pod.Labels["sidecar.istio.io/inject"]; has {
		return label == "false"
	}
	return pod.Annotations["sidecar.istio.io/inject"] == "false"
}

// review answers the API server about one pod.
func (m *mesh) review(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	var pod corev1.Pod
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if m.optsOut(&pod) {
		m.mu.Lock()
		m.passed[pod.Labels["app"]] = true
		m.mu.Unlock()
	} else {
		kind := admissionv1.PatchTypeJSONPatch
		review.Response.PatchType = &kind
		var err error
		if review.Response.Patch, err = json.Marshal(m.inject(&pod)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// inject are the changes that make a pod one of the mesh.
func (m *mesh) inject(pod *corev1.Pod) []map[string]any {
	labels := map[string]string{inMesh: "strict"}
	if m.kind == "linkerd" && pod.Annotations["config.linkerd.io/default-inbound-policy"] == "all-unauthenticated" {
		labels[inMesh] = "open"
	}
	for key, value := range pod.Labels {
		labels[key] = value
	}
	no, yes := false, true
	user := int64(1337)
	proxy := corev1.Container{
		Name: proxyName, Image: "registry.k8s.io/pause:3.9",
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, RunAsNonRoot: &yes, RunAsUser: &user, ReadOnlyRootFilesystem: &yes,
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	return []map[string]any{
		{"op": "add", "path": "/metadata/labels", "value": labels},
		{"op": "add", "path": "/spec/containers/-", "value": proxy},
	}
}
