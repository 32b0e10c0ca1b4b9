//go:build e2e

package e2e

import "testing"

// BenchmarkInstall measures what a user waits for: the install until Helm returns, and a workspace from the
// API call until its pod is Ready. The first count on a new cluster is the cold one, its nodes hold no image.
func BenchmarkInstall(b *testing.B) {
	env := newEnvironment(b)
	for b.Loop() {
		r := env.release(env.helm4, "neutree", "nap")
		installed := r.mustUpgrade(b, "--wait")
		session := r.login(b)
		_, ready := r.createWorkspace(b, session, "bench")
		b.ReportMetric(installed.took.Seconds(), "s/install")
		b.ReportMetric(ready.Seconds(), "s/workspace")
		r.purge(b)
	}
}
