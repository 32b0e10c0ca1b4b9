package bootstrap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// authoritySecret is what the operator makes for a Cluster.
func authoritySecret(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: nap-pg-ca, namespace: nap}\ndata: {ca.crt: %s}\n",
		base64.StdEncoding.EncodeToString(text))
}

// The pod starts before the operator has made the authority: the file that the address names is not there.
func TestAuthorityThatComesLater(t *testing.T) {
	w := newWorld(t, cluster)
	w.dsn += "&sslmode=verify-full&sslrootcert=%2Fnowhere%2Fca.crt"
	w.spec.Database.Authority = &hook.SecretRef{Secret: "nap-pg-ca", Key: "ca.crt"}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := w.run(ctx)
	if hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), "nap-pg-ca") ||
		!strings.Contains(err.Error(), "it does not exist") {
		t.Errorf("exit code %d: %v", hook.CodeOf(err), err)
	}
	w.server.Put(authoritySecret(t))
	w.mustRun(t)

	w.server.Refuse(-1, "GET", "/api/v1/namespaces/nap/secrets/nap-pg-ca",
		kubetest.Status(403, metav1.StatusReasonForbidden, `secrets "nap-pg-ca" is forbidden: not allowed`))
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.run(ctx); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "nap-pg-ca") {
		t.Errorf("exit code %d: %v", hook.CodeOf(err), err)
	}
}
