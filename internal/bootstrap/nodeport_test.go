package bootstrap

import (
	"strings"
	"testing"
)

// Renderers such as ArgoCD show no notes of the release, so the log of the Job says what the node port opens.
func TestOpenNodePortIsSaid(t *testing.T) {
	w := newWorld(t, cluster)
	w.mustRun(t)
	const open = "the node port opens all paths of the control plane"
	if strings.Contains(w.log.String(), open) {
		t.Errorf("the paths are closed, and the log says:\n%s", w.log)
	}
	w.spec.OpenNodePort = 30080
	w.mustRun(t)
	for _, want := range []string{"level=WARN", open, "global.exposure.internalPaths=closed", "port=30080"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, w.log)
		}
	}
}
