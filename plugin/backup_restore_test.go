package main

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
)

// A pipeline has to tell a restore that changed nothing from one that has stopped the platform.
func TestExitCodeOfAnUnfinishedRestore(t *testing.T) {
	for code, want := range map[hook.Code]int{
		hook.Unchanged: 1, hook.Unexpected: 1, hook.Refused: 2, hook.Busy: 2, hook.HalfRestored: 3, hook.Deadline: 124,
	} {
		if got := statusOf(hook.Errorf(code, "it failed")); got != want {
			t.Errorf("code %d of nap-hooks becomes exit code %d, not %d", code, got, want)
		}
	}
}

func TestRestoreNeedsAName(t *testing.T) {
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"backup", "restore", "-n", "nap"}, &stdout, &stderr); code != 1 ||
		!strings.Contains(stderr.String(), "name the backup to restore; helm neutree backup list shows them") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}
