package teardown

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// The note of a restore that did not end would keep the next install from starting. What it says of the data stays true.
func TestNoteOfARestoreGoesWithTheRelease(t *testing.T) {
	const path = "/api/v1/namespaces/nap/configmaps/nap-restore"
	was := spec
	t.Cleanup(func() { spec = was })
	spec.RestoreNote = "nap-restore"
	for phase, warning := range map[string]string{
		"restoring": "a restore did not end: the databases that are kept may be half of backup b1 and half of what was " +
			"there before; " +
			"restore it again after the next install",
		"stopping": "",
	} {
		server := kubetest.New(t, platform, uninstalling, `apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {restore.json: '{"backup": "b1", "replicas": {}, "phase": "`+phase+`"}'}`)
		summary, _ := run(t, server)
		if server.Object(path) != nil {
			t.Errorf("%s: the note is left", phase)
		}
		if !strings.Contains(summary, warning) || warning == "" && strings.Contains(summary, "a restore did not end") {
			t.Errorf("%s: %s", phase, summary)
		}
	}
}
