//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"
)

// On a first install the cause of a failed bootstrap stands in its termination message, and helm, which waits for the
// seeds only, ends with it too.
func TestFailingFirstMigration(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	done := r.begin(t, "--set", "global.images.controlPlane.tag=v0.2.2-broken")
	job := r.bootstrapJob(t)
	eventually(t, 2*time.Minute, "the cause stands in the termination message", func(ctx context.Context) (bool, string) {
		text := r.termination(ctx, job)
		return containsAll(text, "exit 11", "133_", "statement"), text
	})
	t.Logf("termination message: %s", r.termination(t.Context(), job))
	wantRefused(t, <-done, 3*time.Minute, "nap-seed", "133_", "statement")
}
