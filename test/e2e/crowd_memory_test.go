//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// hookMemory knows the most memory that the kernel counted for each of a release's hooks.
type hookMemory struct {
	release *release

	mu sync.Mutex
	// peaks are in bytes, by the hook's component.
	peaks map[string]int64
	// began and ended are when a container of the hook was first and last seen.
	began, ended map[string]time.Time
	// hooks are the components of the pods of hooks, by the pods' ids; "" for other pods.
	hooks map[types.UID]string
}

// memoryPeaks are the files with the most memory that a control group had, page cache included, by the root of the
// hierarchy: that of version 1 for memory, and version 2.
var memoryPeaks = map[string]string{
	"/sys/fs/cgroup/memory": "memory.max_usage_in_bytes",
	"/sys/fs/cgroup":        "memory.peak",
}

// watchMemory reads the testbed's control groups until the benchmark ends. The group of a container goes with it, so
// they are read often: what a hook takes in its last moments may be missing.
func (r *release) watchMemory(b *testing.B) *hookMemory {
	b.Helper()
	m := &hookMemory{release: r, peaks: map[string]int64{}, hooks: map[types.UID]string{},
		began: map[string]time.Time{}, ended: map[string]time.Time{}}
	testbed := cmp.Or(os.Getenv("NEUTREE_TESTBED_NAME"), filepath.Base(filepath.Dir(variable(b, "KUBECONFIG"))))
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		group.Wait()
	})
	group.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				m.read(ctx, testbed)
			}
		}
	})
	return m
}

// report says what the hooks took since the last report, as numbers of a phase.
func (m *hookMemory) report(b *testing.B, phase string) {
	b.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.peaks) == 0 {
		b.Errorf("%s: no control group of a hook was seen", phase)
	}
	for _, hook := range slices.Sorted(maps.Keys(m.peaks)) {
		b.Logf("%s: the hook %s took %d MiB", phase, hook, m.peaks[hook]>>20)
		b.ReportMetric(float64(m.peaks[hook])/(1<<20), fmt.Sprintf("MiB/%s-%s", phase, hook))
	}
	clear(m.peaks)
	clear(m.began)
	clear(m.ended)
}

// span is how long the containers of a hook were there since the last report.
func (m *hookMemory) span(hook string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended[hook].Sub(m.began[hook])
}

func (m *hookMemory) read(ctx context.Context, testbed string) {
	for root, file := range memoryPeaks {
		for _, class := range []string{"", "besteffort", "burstable"} {
			// A pattern that is wrong is the only error there is.
			pods, _ := filepath.Glob(filepath.Join(root, "neutree-testbed", testbed, "*", "kubepods", class, "pod*"))
			for _, pod := range pods {
				hook := m.hook(ctx, types.UID(strings.TrimPrefix(filepath.Base(pod), "pod")))
				if hook == "" {
					continue
				}
				containers, _ := filepath.Glob(filepath.Join(pod, "*", file))
				for _, container := range containers {
					m.note(hook, container)
				}
			}
		}
	}
}

func (m *hookMemory) note(hook, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.peaks[hook] = max(m.peaks[hook], bytes)
		m.ended[hook] = time.Now()
		if m.began[hook].IsZero() {
			m.began[hook] = m.ended[hook]
		}
	}
}

// hook is the component of a hook's pod, or "" for another pod.
func (m *hookMemory) hook(ctx context.Context, uid types.UID) string {
	if hook, known := m.hooks[uid]; known {
		return hook
	}
	pods, err := m.release.client.CoreV1().Pods(m.release.namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return ""
	}
	for i := range pods.Items {
		m.hooks[pods.Items[i].UID] = hookOf(&pods.Items[i])
	}
	if _, known := m.hooks[uid]; !known {
		m.hooks[uid] = ""
	}
	return m.hooks[uid]
}

func hookOf(pod *corev1.Pod) string {
	if len(pod.Spec.Containers) == 0 || !strings.Contains(pod.Spec.Containers[0].Image, "nap-hooks") {
		return ""
	}
	return cmp.Or(pod.Labels["app.kubernetes.io/component"], pod.Name)
}
