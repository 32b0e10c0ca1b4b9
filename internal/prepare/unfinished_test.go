package prepare

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
)

const unfinishedRestore = `apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {restore.json: '{"backup": "b1", "safety": "s1", "replicas": {"nap-cp": 2}, "phase": "restoring"}'}`

// Services that start while a restore has not ended write into databases that may be half restored.
func TestUnfinishedRestoreIsRefused(t *testing.T) {
	s := newStage(t, "", running, installation, unfinishedRestore)
	s.spec.Gate.RestoreNote = "nap-restore"
	const command = "finish it with helm neutree backup restore b1 --namespace nap"
	s.wantRefused("the restore of backup b1 has not ended", command)
	_, err := (&Rollback{Log: slog.New(slog.DiscardHandler), Client: s.server.Client(), Spec: hook.RollbackSpec{
		Namespace: "nap", Release: "neutree", ConfigMap: "neutree-installation", RestoreNote: "nap-restore", Database: s.spec.Migrate,
	}}).Run(t.Context())
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), command) {
		t.Errorf("a rollback: exit %d: %v", hook.CodeOf(err), err)
	}
}
