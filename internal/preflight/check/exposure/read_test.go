package exposure

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func TestIngressClasses(t *testing.T) {
	class := func(name, isDefault string) networkingv1.IngressClass {
		return networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: isDefault}},
			Spec:       networkingv1.IngressClassSpec{Controller: "example.com/" + name},
		}
	}
	for _, tc := range []struct {
		name, wanted string
		classes      []networkingv1.IngressClass
		words        []string
	}{
		{name: "named", wanted: "nginx", classes: []networkingv1.IngressClass{class("nginx", "")}},
		{name: "default", classes: []networkingv1.IngressClass{class("nginx", "true"), class("traefik", "")}},
		{name: "none", words: []string{"the cluster has no IngressClass -> install an ingress controller"}},
		{name: "another", wanted: "nginx", classes: []networkingv1.IngressClass{class("traefik", "true")}, words: []string{`IngressClass "nginx" does not exist -> set global.exposure.ingress.className to one of traefik (example.com/traefik)`}},
		{name: "no default", classes: []networkingv1.IngressClass{class("traefik", "")}, words: []string{"no IngressClass is named, and none is the default"}},
		{name: "two defaults", classes: []networkingv1.IngressClass{class("a", "true"), class("b", "true")}, words: []string{"2 IngressClasses are marked as the default: a, b"}},
	} {
		t.Run(tc.name, func(t *testing.T) { checktest.Want(t, classes(tc.classes, tc.wanted), tc.words...) })
	}
}

func TestGateways(t *testing.T) {
	const head = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: public, namespace: edge}\n"
	const listener = "{name: https, hostname: \"*.example.com\", allowedRoutes: {namespaces: {from: All}}}"
	set := &requirement.Set{Namespace: "nap", Exposure: requirement.Exposure{Type: "gateway", Gateways: []requirement.Gateway{
		{Namespace: "edge", Name: "public", Hosts: []string{"nap.example.com", "files.nap.example.com"}}}}}
	for _, tc := range []struct {
		name, object string
		words        []string
	}{
		{name: "listens", object: head + "spec: {listeners: [" + listener + "]}\nstatus: {conditions: [{type: Programmed, status: \"True\"}]}"},
		{name: "missing", words: []string{"Gateway public does not exist in namespace edge"}},
		{name: "not set up", object: head + "status: {conditions: [{type: Programmed, status: \"False\", message: no address}]}", words: []string{"Gateway public is not Programmed: no address"}},
		{name: "for others", object: head + "spec: {listeners: [{name: x, hostname: other.org, allowedRoutes: {namespaces: {from: Same}}}]}", words: []string{"no listener of Gateway public is for nap.example.com, files.nap.example.com", "no listener of Gateway public takes routes from namespace nap"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checktest.Want(t, checktest.Run(t, Checks(), "exposure.gateway", checktest.Subject(t, kubetest.New(t, tc.object), set)), tc.words...)
		})
	}
}

// pair makes a certificate for names that ends at a time, with its key.
func pair(t *testing.T, ends time.Time, names ...string) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: names, NotBefore: ends.AddDate(-1, 0, 0), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}
}

func TestCertificates(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	hosts := []string{"nap.example.com", "*.sandbox.example.com"}
	good := pair(t, now.AddDate(0, 6, 0), "nap.example.com", "*.sandbox.example.com")
	mixed := pair(t, now.AddDate(0, 6, 0), hosts...)
	mixed[corev1.TLSPrivateKeyKey] = pair(t, now, "x")[corev1.TLSPrivateKeyKey]
	of := func(kind corev1.SecretType, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{Type: kind, Data: data}
	}
	for _, tc := range []struct {
		name   string
		secret *corev1.Secret
		words  []string
	}{
		{name: "fits", secret: of(corev1.SecretTypeTLS, good)},
		{name: "missing", words: []string{"error: Secret tls with the certificate of nap.example.com, *.sandbox.example.com does not exist in namespace nap -> kubectl create secret tls tls --namespace nap"}},
		{name: "of another type", secret: of(corev1.SecretTypeOpaque, good), words: []string{"error: Secret tls is of type Opaque, not kubernetes.io/tls"}},
		{name: "with another's key", secret: of(corev1.SecretTypeTLS, mixed), words: []string{"error: the certificate and key in Secret tls can't be used: tls: private key does not match public key"}},
		{name: "for others", secret: of(corev1.SecretTypeTLS, pair(t, now.AddDate(0, 6, 0), "nap.example.com")), words: []string{"error: the certificate in Secret tls is for nap.example.com, not for *.sandbox.example.com"}},
		{name: "ended", secret: of(corev1.SecretTypeTLS, pair(t, now.AddDate(0, 0, -1), hosts...)), words: []string{"error: the certificate in Secret tls ended on 22 November 2026"}},
		{name: "not yet", secret: of(corev1.SecretTypeTLS, pair(t, now.AddDate(2, 0, 0), hosts...)), words: []string{"error: the certificate in Secret tls begins on 23 November 2027"}},
		{name: "soon", secret: of(corev1.SecretTypeTLS, pair(t, now.AddDate(0, 0, 10), hosts...)), words: []string{"warning: the certificate in Secret tls ends on 3 December 2026"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			findings := certificate(tc.secret, "nap", "tls", hosts, "global.exposure.tls.secretName", now)
			checktest.Want(t, findings, tc.words...)
			for _, f := range findings {
				if tc.secret != nil && strings.Contains(f.Found+f.Fix, string(bytes.TrimSpace(tc.secret.Data[corev1.TLSPrivateKeyKey]))) {
					t.Error("a finding holds the key")
				}
			}
		})
	}
}

func TestIssuedCertificates(t *testing.T) {
	set := &requirement.Set{Namespace: "nap", Exposure: requirement.Exposure{Type: "ingress", Ingress: requirement.Ingress{
		Hosts: []requirement.IngressHost{{Host: "nap.example.com", TLSSecret: "tls"}, {Host: "files.nap.example.com"}}}}}
	checktest.Want(t, checktest.Run(t, Checks(), "exposure.certificate", checktest.Subject(t, kubetest.New(t), set)), "does not exist")
	set.Exposure.Ingress.Issued = true
	checktest.Want(t, checktest.Run(t, Checks(), "exposure.certificate", checktest.Subject(t, kubetest.New(t), set)))
}

func TestHosts(t *testing.T) {
	checktest.Want(t, hosts(requirement.Exposure{Type: "ingress", Host: "nap.example.com", URLs: map[string]string{"web": "https://nap.example.com", "files": "https://files.nap.example.com"}}))
	checktest.Want(t, hosts(requirement.Exposure{Type: "nodePort", URLs: map[string]string{"web": "http://localhost:30080"}}), "global.host is empty")
	checktest.Want(t, hosts(requirement.Exposure{Type: "ingress", Host: "nap.example.com", URLs: map[string]string{"web": "https://nap.example.com", "files": "http://10.0.0.1"}}),
		"users come to the web interface by https and to files by http", "files is reached at 10.0.0.1, an address, and routes go by name")
	checktest.Want(t, hosts(requirement.Exposure{Type: "nodePort", Host: "10.0.0.1", URLs: map[string]string{"web": "http://10.0.0.1:30080"}}), "note: the platform is reached at the address 10.0.0.1")
}
