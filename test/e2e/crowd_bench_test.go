//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/workspaces"
)

const (
	// crowd is how many workspaces a large installation has.
	crowd = 10_000
	// teardownLimit is how many times as long as its patches alone the teardown of a crowd may take.
	teardownLimit = 1.5
)

// BenchmarkManyWorkspaces takes a release through its life with 10,000 workspaces on 500 nodes, or with as many
// workspaces as WORKSPACES says: an install over what an earlier one left, an upgrade, preflight, an uninstall, a
// reinstall, and an uninstall that deletes the data. Hooks have their default limits. A hook that needs more memory is
// ended by the kernel, and the release with it. The nodes are played by kwok. All else is real: scheduler and
// controllers of Kubernetes, which make a pod for each workspace's Deployment, and the testbed's volumes.
func BenchmarkManyWorkspaces(b *testing.B) {
	number := crowd
	if text := os.Getenv("WORKSPACES"); text != "" {
		var err error
		if number, err = strconv.Atoi(text); err != nil {
			b.Fatalf("WORKSPACES: %v", err)
		}
	}
	env := newEnvironment(b)
	r := env.release(env.helm4, "neutree", "nap")
	b.Cleanup(func() { shrink(b, env.client) })
	env.playNodes(b, crowdNodes)
	b.Cleanup(func() { r.purge(b) })
	memory := r.watchMemory(b)
	seconds := func(phase string, took time.Duration) {
		b.Logf("%s: %.1f s", phase, took.Seconds())
		b.ReportMetric(took.Seconds(), "s/"+phase)
	}
	for b.Loop() {
		r.mustUpgrade(b, "--wait")
		r.mustUninstall(b)
		begin := time.Now()
		r.makeCrowd(b, number)
		seconds("make", time.Since(begin))
		memory.report(b, "empty")

		seconds("install", r.mustUpgrade(b, "--wait").took)
		memory.report(b, "install")
		r.wantReplicas(b, number, 1)
		seconds("running", r.awaitPods(b, number))

		seconds("upgrade", r.mustUpgrade(b, "--wait").took)
		memory.report(b, "upgrade")
		took, size := measure(b, env, variable(b, "HELM_NEUTREE"))
		seconds("preflight", took)
		b.ReportMetric(float64(size>>20), "MiB/preflight")

		got := r.mustUninstall(b)
		if want := fmt.Sprintf("%d workspaces stopped, the database hibernates", number); !strings.Contains(got.output,
			want) {
			b.Errorf("helm uninstall does not say %q:\n%s", want, got.output)
		}
		teardown := spanOf(b, got.output)
		seconds("uninstall", got.took)
		seconds("teardown", teardown)
		memory.report(b, "uninstall")
		r.wantReplicas(b, number, 0)
		seconds("stopped", r.awaitPods(b, 0))

		// It is the first revision, as the release is gone. Kubernetes itself takes most of the time to delete what is in
		// the namespace.
		seconds("reinstall", r.mustUpgrade(b, "--wait", "--set", "uninstall.deleteData="+r.name+"@1",
			"--set", "global.hooks.timeouts.teardown=1800").took)
		memory.report(b, "reinstall")
		r.wantReplicas(b, number, 1)
		r.awaitPods(b, number)

		bare := r.barePatches(b, number)
		seconds("bare", bare)
		ratio := teardown.Seconds() / bare.Seconds()
		b.ReportMetric(ratio, "teardown/bare")
		// With few workspaces the database takes longest to stop.
		if number >= crowd && ratio > teardownLimit {
			b.Errorf("the teardown took %.2f times as long as its patches alone, want at most %.1f", ratio, teardownLimit)
		}

		deleted := r.run(b.Context(), time.Hour, "uninstall", r.name, "--namespace", r.namespace, "--wait", "--timeout",
			"40m")
		if deleted.err != nil || !strings.Contains(deleted.output, "Namespace "+r.workspaces()) {
			b.Errorf("helm uninstall that deletes the data: %v after %s\n%s", deleted.err, deleted.took, deleted.output)
		}
		seconds("deleteData", deleted.took)
		memory.report(b, "deleteData")
	}
}

func (r *release) wantReplicas(b *testing.B, number int, want int32) {
	b.Helper()
	found, wrong := 0, ""
	err := kube.Each(b.Context(), r.hooksClient(b), kube.Deployments, r.workspaces(),
		metav1.ListOptions{LabelSelector: workspaces.Selector}, func(d *appsv1.Deployment) {
			if found++; *d.Spec.Replicas != want {
				wrong = d.Name
			}
		})
	if err != nil || found != number || wrong != "" {
		b.Fatalf("%d workspaces, %v, want %d with %d replicas; %q has another number", found, err, number, want, wrong)
	}
}

var logTime = regexp.MustCompile(`"time":"([^"]+)"`)

// spanOf is the time between the first and the last line that a hook logged, in what helm printed.
func spanOf(b *testing.B, output string) time.Duration {
	b.Helper()
	lines := logTime.FindAllStringSubmatch(output, -1)
	if len(lines) < 2 {
		b.Fatalf("helm prints no log of a hook:\n%s", output)
	}
	first, err := time.Parse(time.RFC3339Nano, lines[0][1])
	if err != nil {
		b.Fatal(err)
	}
	last, err := time.Parse(time.RFC3339Nano, lines[len(lines)-1][1])
	if err != nil {
		b.Fatal(err)
	}
	return last.Sub(first)
}
