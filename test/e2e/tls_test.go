//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wantTLS asserts that whatever reaches the database over the network does so with TLS, and that nothing else may.
func (r *release) wantTLS(t *testing.T) {
	t.Helper()
	const connections = `SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl ` +
		`JOIN pg_stat_activity USING (pid) WHERE backend_type = 'client backend' AND client_addr IS NOT NULL`
	var with, without int
	if _, err := fmt.Sscanf(r.sql(t, connections), "%d|%d", &with, &without); err != nil || with == 0 || without > 0 {
		t.Errorf("%d connections with TLS and %d without: %v", with, without, err)
	}
	said := r.exec(t, "nap-pg-1", "postgres", "", "sh", "-c",
		`psql "host=nap-pg-rw dbname=nap user=nap sslmode=disable" --command "SELECT 1" 2>&1 || true`)
	if !strings.Contains(said, "pg_hba.conf rejects connection") {
		t.Errorf("a connection without TLS: %s", said)
	}
}

// wantNewAuthority replaces the operator's authority, which it renews every 90 days, and all connections: services that
// run find the new one in their volume.
func (r *release) wantNewAuthority(t *testing.T) {
	before := r.podIdentities(t)
	secrets := r.client.CoreV1().Secrets(r.namespace)
	for _, name := range []string{"nap-pg-ca", "nap-pg-server", "nap-pg-replication"} {
		if err := secrets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	start, login := time.Now(), fmt.Sprintf("http://%s:30080/api/auth/login", r.nodeIP)
	eventually(t, time.Minute, "a new authority", func(ctx context.Context) (bool, string) {
		secret, err := secrets.Get(ctx, "nap-pg-server", metav1.GetOptions{})
		return err == nil && len(secret.Data["tls.crt"]) > 0, "the operator has made none"
	})
	eventually(t, 3*time.Minute, "the services verify the database by the new authority", func(context.Context) (bool, string) {
		r.sql(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_addr IS NOT NULL AND usename = 'nap'`)
		// The refusal of a wrong password takes a look into the database.
		answer, err := asker.Post(login, "application/json", strings.NewReader(`{"username": "admin", "password": "not-the-password"}`))
		if err != nil {
			return false, err.Error()
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusUnauthorized, "a login answers " + answer.Status
	})
	t.Logf("a login works %s after a new authority", time.Since(start).Round(time.Second))
	if diff := cmp.Diff(before, r.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after:\n%s", diff)
	}
}
