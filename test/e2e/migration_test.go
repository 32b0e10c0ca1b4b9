//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A migration that fails ends the upgrade, named by file and statement, before any service is touched; the
// old version keeps serving, and the next upgrade with a sound image goes through.
func TestFailingMigration(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	r.mustUpgrade(t, "--wait")
	session := r.login(t)
	before := r.podIdentities(t)

	got := r.upgrade(t.Context(), "--wait", "--set", "global.images.controlPlane.tag=v0.2.2-broken")
	wantRefused(t, got, time.Minute, "133_", "nap-migrate")
	if diff := cmp.Diff(before, r.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after the failed upgrade:\n%s", diff)
	}
	session.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)

	r.mustUpgrade(t, "--wait", "--set", "global.images.controlPlane.tag=v0.2.2")
	r.login(t)
}

// On a first install the cause of a failed bootstrap stands in its termination message, and after mending
// it the same command goes through.
func TestFailingFirstMigration(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	done := r.begin(t, "--set", "global.images.controlPlane.tag=v0.2.2-broken", "--timeout", "90s")
	job := r.bootstrapJob(t)
	eventually(t, 2*time.Minute, "the cause stands in the termination message", func(ctx context.Context) (bool, string) {
		text := r.termination(ctx, job)
		return containsAll(text, "exit 11", "133_"), text
	})
	t.Logf("termination message: %s", r.termination(t.Context(), job))
	if got := <-done; got.err == nil {
		t.Errorf("helm reports success with a failed bootstrap:\n%s", got.output)
	}
	r.mustUpgrade(t, "--wait", "--set", "global.images.controlPlane.tag=v0.2.2")
	r.login(t)
}
