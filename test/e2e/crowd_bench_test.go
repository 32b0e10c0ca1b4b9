//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// manyWorkspaces is how many a large installation has.
	manyWorkspaces = 10_000
	// teardownLimit is how many times as long as its patches alone the teardown of a crowd may take.
	teardownLimit = 1.5
)

// BenchmarkManyWorkspaces takes a release through its life with 10,000 workspaces on 500 nodes, or with as many
// workspaces as WORKSPACES says: an install over what an earlier one left, an upgrade, preflight, an uninstall, a
// reinstall, and an uninstall that deletes the data. Hooks have their default limits. A hook that needs more memory is
// ended by the kernel, and the release with it. The nodes are played by kwok. All else is real: scheduler and
// controllers of Kubernetes, which make a pod for each workspace's Deployment, and the testbed's volumes. On a machine
// where that takes too long, PODS=direct has the benchmark make the pods, and TEARDOWN_SECONDS gives
// the uninstall more than its default time.
func BenchmarkManyWorkspaces(b *testing.B) {
	number := manyWorkspaces
	if text := os.Getenv("WORKSPACES"); text != "" {
		var err error
		if number, err = strconv.Atoi(text); err != nil {
			b.Fatalf("WORKSPACES: %v", err)
		}
	}
	env := newEnvironment(b)
	r := &crowd{release: env.release(env.helm4, "neutree", "nap"), number: number, direct: os.Getenv("PODS") == "direct"}
	b.Cleanup(func() { shrink(b, env.client) })
	env.playNodes(b, crowdNodes)
	b.Cleanup(func() { r.purge(b) })
	memory := r.watchMemory(b)
	settings := []string{"--wait"}
	if text := os.Getenv("TEARDOWN_SECONDS"); text != "" {
		settings = append(settings, "--set", "global.hooks.timeouts.teardown="+text)
	}
	seconds := func(phase string, took time.Duration) {
		b.Logf("%s: %.1f s", phase, took.Seconds())
		b.ReportMetric(took.Seconds(), "s/"+phase)
	}
	for b.Loop() {
		r.mustUpgrade(b, settings...)
		r.know(b)
		r.remove(b)
		begin := time.Now()
		r.create(b)
		seconds("make", time.Since(begin))
		memory.report(b, "empty")

		seconds("install", r.mustUpgrade(b, settings...).took)
		seconds("resumed", r.awaitResumed(b))
		memory.report(b, "install")
		seconds("running", r.awaitRunning(b))

		seconds("upgrade", r.mustUpgrade(b, settings...).took)
		memory.report(b, "upgrade")
		took, size := measure(b, env, variable(b, "HELM_NEUTREE"))
		seconds("preflight", took)
		b.ReportMetric(float64(size>>20), "MiB/preflight")

		got := r.remove(b)
		if want := fmt.Sprintf("%d workspaces stopped, the database hibernates", number); !strings.Contains(got.output,
			want) {
			b.Errorf("helm uninstall does not say %q:\n%s", want, got.output)
		}
		teardown := memory.span("teardown")
		seconds("uninstall", got.took)
		seconds("teardown", teardown)
		memory.report(b, "uninstall")
		if stopped, err := r.stopped(b.Context(), b); err != nil || stopped != number {
			b.Errorf("%d of %d workspaces are stopped: %v", stopped, number, err)
		}
		seconds("stopped", r.awaitStopped(b))

		// It is the first revision, as the release is gone. Kubernetes itself takes most of the time to delete what is in
		// the namespace.
		seconds("reinstall", r.mustUpgrade(b, "--wait", "--set", "uninstall.deleteData="+r.name+"@1",
			"--set", "global.hooks.timeouts.teardown=1800").took)
		r.awaitResumed(b)
		memory.report(b, "reinstall")
		r.awaitRunning(b)

		bare := r.barePatches(b)
		seconds("bare", bare)
		ratio := teardown.Seconds() / bare.Seconds()
		b.ReportMetric(ratio, "teardown/bare")
		// With few workspaces the database takes longest to stop.
		if number >= manyWorkspaces && ratio > teardownLimit {
			b.Errorf("the teardown took %.2f times as long as its patches alone, want at most %.1f", ratio, teardownLimit)
		}

		deleted := r.remove(b)
		if !strings.Contains(deleted.output, "Namespace "+r.workspaces()) {
			b.Errorf("helm uninstall did not delete the data:\n%s", deleted.output)
		}
		seconds("deleteData", deleted.took)
		memory.report(b, "deleteData")
	}
}
