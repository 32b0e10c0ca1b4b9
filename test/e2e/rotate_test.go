//go:build e2e

package e2e

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wantKeyRotated rotates the key that signs sessions: the two services that read it are replaced and no others, users
// are logged out, and can log in again. An upgrade with the same values restarts nothing more.
func (r *release) wantKeyRotated(t *testing.T, values ...string) {
	t.Helper()
	session := r.login(t)
	session.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
	before, secrets := r.podIdentities(t), r.secretData(t)

	dry := r.plugin(t, 0, "", "secrets", "rotate", "jwt", "--dry-run")
	if !containsAll(dry.stdout, "nap-cp-secret/JWT_SECRET", "Deployment nap-cp: restart", "Deployment nap-cg: restart",
		"logged out") {
		t.Errorf("the dry run says:\n%s", dry.stdout)
	}
	if !maps.Equal(secrets, r.secretData(t)) || !maps.Equal(before, r.podIdentities(t)) {
		t.Error("the dry run has changed something")
	}

	rotated := r.plugin(t, 0, "", "secrets", "rotate", "jwt", "--yes")
	t.Logf("helm neutree secrets rotate jwt: %s\n%s", rotated.took, rotated.stderr)
	var changed []string
	for name, value := range r.secretData(t) {
		if secrets[name] != value {
			changed = append(changed, name)
		}
	}
	if len(changed) != 1 || !strings.Contains(changed[0], "JWT_SECRET") {
		t.Errorf("these keys have changed: %v", changed)
	}
	wantOnlyChanged(t, ofOthers(before, "nap/nap-cg-"), ofOthers(r.podIdentities(t), "nap/nap-cg-"), "nap/nap-cp-")
	wantOnlyChanged(t, ofOthers(before, "nap/nap-cp-"), ofOthers(r.podIdentities(t), "nap/nap-cp-"), "nap/nap-cg-")

	// A pod that is ending may still answer for a moment.
	eventually(t, 30*time.Second, "the old session is refused", func(ctx context.Context) (bool, string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, session.base+"/api/me", nil)
		if err != nil {
			return false, err.Error()
		}
		answer, err := session.client.Do(request)
		if err != nil {
			return false, err.Error()
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusUnauthorized, answer.Status
	})
	r.login(t).do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)

	checked := r.plugin(t, 0, "", "secrets", "check")
	if !containsAll(checked.stdout, "4 passed", "All checks passed.") {
		t.Errorf("helm neutree secrets check:\n%s", checked.stdout)
	}
	r.wantDatabaseKeysRotated(t)
	after := r.podIdentities(t)
	r.mustUpgrade(t, values...)
	if !maps.Equal(after, r.podIdentities(t)) {
		t.Error("the next upgrade has restarted services again")
	}
}

// wantDatabaseKeysRotated rotates what the database has to follow, while a user works: the key that credentials are
// encrypted with, the password of the role, and that of the first administrator.
func (r *release) wantDatabaseKeysRotated(t *testing.T) {
	t.Helper()
	r.sql(t, "INSERT INTO public.user_credentials (id, user_id, provider, secret) SELECT 'e' || n, u.id, 'github', "+
		"pgp_sym_encrypt('value ' || n, '"+r.secretKey(t, "nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY")+"') "+
		"FROM generate_series(1, 2000) n, public.users u WHERE u.username = 'admin';")
	for _, rotation := range []struct{ name, secret, key, says string }{
		{"credential-key", "nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY", "2000 credentials are encrypted with the new key; " +
			"restarted nap-cp"},
		{"database", "nap-pg-user", "password", "database has a new value: restarted "},
		{"admin", "nap-admin", "password", "the first administrator logs in with the password in Secret nap-admin"},
	} {
		session, old := r.login(t), r.secretKey(t, rotation.secret, rotation.key)
		asking, stop := context.WithCancel(t.Context())
		var users answers
		var asked sync.WaitGroup
		asked.Go(func() {
			users.collectBy(asking, 100*time.Millisecond, func(ctx context.Context) error {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, session.base+"/api/me", nil)
				if err != nil {
					return err
				}
				answer, err := session.client.Do(request)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					return errors.New(answer.Status)
				}
				return nil
			})
		})
		rotated := r.plugin(t, 0, "", "secrets", "rotate", rotation.name, "--yes")
		stop()
		asked.Wait()
		t.Logf("helm neutree secrets rotate %s: %s; of a user's requests %s\n%s", rotation.name, rotated.took, users, rotated.stderr)
		if !strings.Contains(rotated.stderr, rotation.says) {
			t.Errorf("it does not say %q", rotation.says)
		}
		if r.secretKey(t, rotation.secret, rotation.key) == old {
			t.Errorf("the key %s of Secret %s is the old one", rotation.key, rotation.secret)
		}
		r.login(t).do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
	}
	read := r.sql(t, "SELECT count(*) FROM public.user_credentials WHERE pgp_sym_decrypt(secret, '"+
		r.secretKey(t, "nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY")+"') = 'value ' || substr(id, 2);")
	if read != "2000" {
		t.Errorf("%s of 2000 credentials can be read with the new key", read)
	}
	checked := r.plugin(t, 0, "", "secrets", "check")
	if !strings.Contains(checked.stdout, "All checks passed.") {
		t.Errorf("helm neutree secrets check:\n%s", checked.stdout)
	}
}

// secretKey is one value of a Secret.
func (r *release) secretKey(t *testing.T, name, key string) string {
	t.Helper()
	secret, err := r.client.CoreV1().Secrets(r.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(secret.Data[key])
}

// ofOthers leaves out the pods whose names start with prefix.
func ofOthers(pods map[string]int32, prefix string) map[string]int32 {
	others := maps.Clone(pods)
	maps.DeleteFunc(others, func(name string, _ int32) bool { return strings.HasPrefix(name, prefix) })
	return others
}
