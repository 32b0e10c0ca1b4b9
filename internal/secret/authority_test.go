package secret_test

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/hook"
)

// What the operator is to take must be what it would make: a P-256 key, and a certificate that signs with it.
func TestAuthorityOfACluster(t *testing.T) {
	c := newCluster(t)
	spec := hook.Secret{Name: "nap-pg-ca", Authority: "nap-pg"}
	result, err := c.ensure(spec)
	if err != nil || result.Created != 1 {
		t.Fatalf("%s, %v", result, err)
	}
	block, _ := pem.Decode([]byte(c.value("nap-pg-ca", "ca.key")))
	if block == nil || block.Type != "EC PRIVATE KEY" {
		t.Fatalf("the key is %v", block)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode([]byte(c.value("nap-pg-ca", "ca.crt")))
	if block == nil {
		t.Fatal("the certificate is no PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !certificate.IsCA || certificate.KeyUsage&x509.KeyUsageCertSign == 0 || !key.PublicKey.Equal(certificate.PublicKey) {
		t.Errorf("the certificate does not sign with the key: %+v", certificate.Subject)
	}
	if left := time.Until(certificate.NotAfter); left < 89*24*time.Hour || left > 90*24*time.Hour {
		t.Errorf("%s are left of the certificate's time", left)
	}
	if err := certificate.CheckSignatureFrom(certificate); err != nil {
		t.Error(err)
	}
	before := c.value("nap-pg-ca", "ca.crt")
	if result, err := c.ensure(spec); err != nil || result.Kept != 1 || c.value("nap-pg-ca", "ca.crt") != before {
		t.Errorf("a second run: %s, %v", result, err)
	}
}

// That of the operator stays, also one that it is changing.
func TestAuthorityThatIsThereStays(t *testing.T) {
	c := newCluster(t, given("nap-pg-ca", corev1.SecretTypeOpaque, map[string]string{"ca.crt": "theirs"}))
	writes := c.writes()
	if result, err := c.ensure(hook.Secret{Name: "nap-pg-ca", Authority: "nap-pg"}); err != nil || result.Kept != 1 || c.writes() != writes {
		t.Errorf("%s, %v", result, err)
	}
	if got := c.value("nap-pg-ca", "ca.crt"); got != "theirs" {
		t.Errorf("the certificate is %q", got)
	}
}
