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
	spec.RestoreNote, spec.Keyring = "nap-restore", "nap-credential-key-rotation"
	for phase, warning := range map[string]string{
		"restoring": "a restore did not end: the databases that are kept may be half of backup b1 and half of what was " +
			"there before; " +
			"restore it again after the next install",
		"stopping": "",
		`stopping", "rotation": "credential-key`: "the rotation of credential-key did not end: Secret " +
			"nap-credential-key-rotation in namespace nap is kept with the data and has the old key and the new one; if the " +
			"next install is refused because of the encryption key, copy the old one from there into the Secret that the " +
			"message names, and after the install run helm neutree secrets rotate credential-key --namespace nap",
	} {
		server := kubetest.New(t, platform, uninstalling, `apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {restore.json: '{"backup": "b1", "replicas": {}, "phase": "`+phase+`"}'}`)
		summary, _ := run(t, server)
		if server.Object(path) != nil {
			t.Errorf("%s: the note is left", phase)
		}
		if !strings.Contains(summary, warning) || warning == "" && strings.Contains(summary, " did not end") {
			t.Errorf("%s: %s", phase, summary)
		}
	}
}
