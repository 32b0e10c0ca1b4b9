//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A migration that fails is named by file and statement, the old version keeps serving, and the next
// upgrade with a sound image goes through.
func TestFailingMigration(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	r.mustUpgrade(t, "--wait")
	session := r.login(t)
	first := r.bootstrapJob(t)

	got := r.upgrade(t.Context(), "--set", "global.images.controlPlane.tag=v0.2.2-broken")
	t.Logf("upgrade to an image with a broken migration: %v after %s", got.err, got.took)
	var job string
	eventually(t, 3*time.Minute, "the cause stands in the termination message", func(ctx context.Context) (bool, string) {
		job = r.bootstrapJob(t)
		text := r.termination(ctx, job)
		return job != first && containsAll(text, "exit 11", "133_", "statement"), text
	})
	t.Logf("termination message: %s", r.termination(t.Context(), job))
	var me map[string]any
	session.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, &me)

	r.mustUpgrade(t, "--wait", "--set", "global.images.controlPlane.tag=v0.2.1")
	session = r.login(t)
	if strings.Contains(r.termination(t.Context(), r.bootstrapJob(t)), "exit 11") {
		t.Error("the mended upgrade still reports a failed migration")
	}
}
