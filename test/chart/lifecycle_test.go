package chart_test

import (
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// slack is how much longer than a fact asks for the chart may wait, before a person waits for nothing.
const slack = 15 * time.Second

// The kubelet leaves every service the time that internal/platform gives reasons for, and not much more.
func TestTheKubeletLeavesServicesTheirTime(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		p, c := mainContainer(t, w, objects)
		needs := contract.LifecycleOf(w.Name)
		within := func(what string, got, least time.Duration) {
			t.Helper()
			if got < least || got > least+slack {
				t.Errorf("%s: %s %s, want %s and at most %s more", p.from, what, got, least, slack)
			}
		}

		grace := 30 * time.Second // Kubernetes' own
		if seconds := p.spec().TerminationGracePeriodSeconds; seconds != nil {
			grace = time.Duration(*seconds) * time.Second
		}
		within("it is killed after", grace, needs.Grace())
		if got := drains(c); needs.Drain > 0 && got != needs.Drain {
			t.Errorf("%s: it stops answering %s after it was told to end, want %s", p.from, got, needs.Drain)
		}

		if w.Port == 0 {
			if c.LivenessProbe != nil || c.StartupProbe != nil {
				t.Errorf("%s: it serves no port, and is asked all the same", p.from)
			}
			return
		}
		if needs.Start > 0 {
			if c.StartupProbe == nil {
				t.Fatalf("%s: it has no startupProbe, and needs %s to start", p.from, needs.Start)
			}
			within("a start may take", patience(c.StartupProbe), needs.Start)
			if got := ends(c.StartupProbe, grace); needs.Restart > 0 && got > needs.Restart {
				t.Errorf("%s: a start that hangs has ended only after %s, want %s", p.from, got, needs.Restart)
			}
		}
		within("it may be silent for", patience(c.LivenessProbe), needs.Silence)
		if c.LivenessProbe.FailureThreshold < 3 {
			t.Errorf("%s: %d answers that are lost end it, want 3 at least", p.from, c.LivenessProbe.FailureThreshold)
		}

		first := c.ReadinessProbe
		if c.StartupProbe != nil {
			first = c.StartupProbe
		}
		if first.PeriodSeconds > 2 || first.InitialDelaySeconds > 2 {
			t.Errorf("%s: that it is up is noticed only after %d s and every %d s, want 2 s",
				p.from, first.InitialDelaySeconds, first.PeriodSeconds)
		}
		if got := asked(c.ReadinessProbe, c.LivenessProbe); got > mostAsked {
			t.Errorf("%s: it is asked %d times a day while it runs, and writes a line for each, want at most %d", p.from,
				got, mostAsked)
		}
		if got := patience(c.ReadinessProbe); got > needs.Silence/2 {
			t.Errorf("%s: it gets requests for %s while it answers none, and would be restarted after %s", p.from,
				got, needs.Silence)
		}
	})
}

// mostAsked is how many lines a day the health check of a service may add to its log.
const mostAsked = 15_000

// asked is how often a day the kubelet asks by probes.
func asked(probes ...*corev1.Probe) int32 {
	var times int32
	for _, probe := range probes {
		times += 24 * 60 * 60 / max(1, probe.PeriodSeconds)
	}
	return times
}

// ends is how long after its start a container is gone that never answers the probe.
func ends(probe *corev1.Probe, grace time.Duration) time.Duration {
	if seconds := probe.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	return patience(probe) + grace
}

// patience is how long a probe fails before something is done about it.
func patience(probe *corev1.Probe) time.Duration {
	return time.Duration(probe.InitialDelaySeconds+probe.PeriodSeconds*probe.FailureThreshold) * time.Second
}

// drains is how long a container sleeps before it is told to end.
func drains(c corev1.Container) time.Duration {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Exec == nil {
		return 0
	}
	command := c.Lifecycle.PreStop.Exec.Command
	if len(command) != 2 || command[0] != "sleep" {
		return 0
	}
	seconds, err := strconv.Atoi(command[1])
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// Each service has facts of its own, and those agree with what else is known of it.
func TestLifecyclesFitTheirWorkloads(t *testing.T) {
	for _, w := range append(contract.Workloads(), contract.ModuleWorkloads()...) {
		needs := contract.LifecycleOf(w.Name)
		if needs == (contract.Lifecycle{}) {
			t.Errorf("%s has no Lifecycle", w.Name)
		}
		if (w.Rollout == platform.Surge) != (needs.Drain > 0) {
			t.Errorf("%s: it drains for %s, which those do that overlap with their successor", w.Name, needs.Drain)
		}
		if (w.Port > 0) != (needs.Silence > 0) {
			t.Errorf("%s: its silence of %s and its port %d contradict each other", w.Name, needs.Silence, w.Port)
		}
		if w.Port > 0 && w.Migrations != "" && needs.Start == 0 {
			t.Errorf("%s looks through migrations before it listens, and has no Start", w.Name)
		}
	}
}
