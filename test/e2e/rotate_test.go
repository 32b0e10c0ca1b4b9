//go:build e2e

package e2e

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
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
	after := r.podIdentities(t)
	r.mustUpgrade(t, values...)
	if !maps.Equal(after, r.podIdentities(t)) {
		t.Error("the next upgrade has restarted services again")
	}
}

// ofOthers leaves out the pods whose names start with prefix.
func ofOthers(pods map[string]int32, prefix string) map[string]int32 {
	others := maps.Clone(pods)
	maps.DeleteFunc(others, func(name string, _ int32) bool { return strings.HasPrefix(name, prefix) })
	return others
}
