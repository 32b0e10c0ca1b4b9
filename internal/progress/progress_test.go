package progress_test

import (
	"bytes"
	"testing"

	"github.com/neutree-ai/packaging/internal/progress"
)

func TestLines(t *testing.T) {
	var out bytes.Buffer
	log := progress.New(&out)
	log.Info("stopping the services", "deployments", "a, b", "nothing", "")
	log.With("backup", "b1").Warn("it is old")
	log.Error("the pod says \x1b[2J", "cause", "\u202eok")
	log.Debug("not for readers")
	want := "stopping the services (deployments a, b)\nWarning: it is old (backup b1)\n" +
		"Error: the pod says ^[[2J (cause \\u202eok)\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
