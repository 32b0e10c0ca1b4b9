package restorefrom_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/restorefrom"
)

// The person's own Helm gets the values through a pipe, and the cluster by its environment.
func TestProgram(t *testing.T) {
	helm := filepath.Join(t.TempDir(), "helm")
	script := "#!/bin/sh\necho \"$HELM_KUBECONTEXT: $*: $(cat)\"\ntest \"$1\" != fail || exit 3\ntest \"$1\" != wait || exec sleep 60\n"
	if err := os.WriteFile(helm, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HELM_BIN", helm)
	var talk strings.Builder
	program := restorefrom.Program{Env: []string{"HELM_KUBECONTEXT=two"}, Talk: &talk}
	if err := program.Run(t.Context(), []byte("a: 1"), "upgrade", "--values", "-"); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(talk.String()); got != "two: upgrade --values -: a: 1" {
		t.Errorf("it runs %q", got)
	}
	if err := program.Run(t.Context(), nil, "fail"); err == nil || err.Error() != "helm fail: exit status 3" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := program.Run(ctx, nil, "wait"); err != context.DeadlineExceeded {
		t.Errorf("%v", err)
	}
}
