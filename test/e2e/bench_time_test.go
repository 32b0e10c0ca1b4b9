//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkTime says where the seconds of an install and of an upgrade that changes nothing go: of each pod and each Job
// that they start, when it was made, began its work and ended, and when that was known to the one who waits for it.
func BenchmarkTime(b *testing.B) {
	env := newEnvironment(b)
	r := env.release(env.helm4, "neutree", "nap")
	b.Cleanup(func() { r.purge(b) })
	for _, what := range []string{"install", "upgrade that changes nothing"} {
		stop := r.follow(b)
		began := time.Now()
		got := r.mustUpgrade(b, "--wait")
		fmt.Printf("\n%s: %.1f s\n", what, got.took.Seconds())
		printSteps(os.Stdout, began, stop())
	}
}

// step is one pod or Job as those saw it who followed it.
type step struct {
	name string
	// made is when it was first seen, and works when its first main container was seen at work.
	made, works time.Time
	// ended is when it was seen to be ready, or done.
	ended time.Time
}

// follow watches pods and Jobs of the release's namespace until the function that it returns is called. By the clock of
// the test: the times in objects are whole seconds.
func (r *release) follow(t testing.TB) func() []step {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longestProbe)
	t.Cleanup(cancel)
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		steps = map[string]*step{}
	)
	note := func(name string, works, ended bool) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		s := steps[name]
		if s == nil {
			s = &step{name: name, made: now}
			steps[name] = s
		}
		if works && s.works.IsZero() {
			s.works = now
		}
		if ended && s.ended.IsZero() {
			s.ended = now
		}
	}
	// What is there already took none of the time.
	before := map[string]bool{}
	ask := func(first bool) {
		pods, err := r.client.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return
		}
		jobs, err := r.client.BatchV1().Jobs(r.namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if first {
				before[string(pod.UID)] = true
			}
			if !before[string(pod.UID)] {
				works, ended := standing(pod)
				note("pod "+pod.Name, works, ended)
			}
		}
		for i := range jobs.Items {
			job := &jobs.Items[i]
			if first {
				before[string(job.UID)] = true
			}
			if !before[string(job.UID)] {
				note("job "+job.Name, job.Status.StartTime != nil, done(job))
			}
		}
	}
	ask(true)
	group.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				ask(false)
			}
		}
	})
	return func() []step {
		cancel()
		group.Wait()
		var list []step
		for _, s := range steps {
			list = append(list, *s)
		}
		slices.SortFunc(list, func(a, b step) int { return cmp.Or(a.made.Compare(b.made), cmp.Compare(a.name, b.name)) })
		return list
	}
}

// standing is whether a main container of the pod has begun its work, and whether the pod is ready or done.
func standing(pod *corev1.Pod) (works, ended bool) {
	for _, status := range pod.Status.ContainerStatuses {
		works = works || status.State.Running != nil || status.State.Terminated != nil
	}
	ended = pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	for _, condition := range pod.Status.Conditions {
		ended = ended || condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	}
	return works, ended
}

func done(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}

func printSteps(out io.Writer, began time.Time, steps []step) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmade at s\tat work at s\tready or done at s")
	at := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return fmt.Sprintf("%.1f", t.Sub(began).Seconds())
	}
	for _, s := range steps {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.name, at(s.made), at(s.works), at(s.ended))
	}
	w.Flush()
}
