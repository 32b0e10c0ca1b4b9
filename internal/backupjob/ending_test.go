package backupjob_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/progress"
)

// heard keeps what is said, for a test to wait for.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) has(words string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(h.text.String(), words)
}

func podOf(name, app, phase string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: nap, labels: {app: "+
		"%s}}\nstatus: {phase: %s}",
		name, app, phase)
}

const podPath = "/api/v1/namespaces/nap/pods/"

// A Deployment that is scaled to zero has pods that still write until they have ended. Whatever they write after the
// restore has begun would be mixed with it.
func TestRestoreWaitsForPodsThatEndLate(t *testing.T) {
	c := newCluster(t,
		podOf("nap-cp-late", "nap-cp", "Running"), podOf("afs-late", "afs-controller", "Running"),
		podOf("nap-cp-evicted", "nap-cp", "Failed"), podOf("another", "nap-cg", "Running"))
	var left []string
	c.on("nap-restore", outcome{message: "backup b1 is restored", before: func() {
		for _, name := range []string{"nap-cp-late", "afs-late"} {
			if c.Object(podPath+name) != nil {
				left = append(left, name)
			}
		}
	}})
	said := &heard{}
	runner := c.runner()
	runner.Log = progress.New(said)
	ctx := within(t, time.Minute)
	done := make(chan error, 1)
	go func() {
		_, err := (&backupjob.Restore{Runner: runner, Name: "b1"}).Run(ctx)
		done <- err
	}()
	for _, step := range []struct{ words, gone string }{
		{"still afs-late, nap-cp-late,", "afs-late"}, {"is still nap-cp-late,", "nap-cp-late"},
	} {
		for !said.has(step.words) {
			select {
			case err := <-done:
				t.Fatalf("the restore is over before it waited for %s: %v", step.gone, err)
			case <-time.After(5 * time.Millisecond):
			}
		}
		for _, did := range c.steps() {
			if did == "run nap-restore" {
				t.Fatalf("the restore began while %s was still there", step.gone)
			}
		}
		c.Delete(podPath + step.gone)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("while the restore ran there were %v", left)
	}
}
