package supervise

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eventually fails the test when done is not true within a generous time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func start(t *testing.T, units ...Unit) (logDir string, stop func()) {
	t.Helper()
	logDir = t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, slog.New(slog.DiscardHandler), logDir, units...) }()
	stop = func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the units were not stopped")
		}
	}
	return logDir, stop
}

func lines(path string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "\n")
}

func TestUnitThatEndsIsStartedAgain(t *testing.T) {
	logDir, stop := start(t, Unit{Name: "short", Command: []string{"sh", "-c", "echo once; exit 3"}})
	defer stop()
	eventually(t, "it was started twice", func() bool { return lines(filepath.Join(logDir, "short.log")) >= 2 })
}

func TestUnitWaitsUntilItIsReady(t *testing.T) {
	ready := make(chan struct{})
	logDir, stop := start(t,
		Unit{Name: "first", Command: []string{"sh", "-c", "echo up; sleep 60"}},
		Unit{Name: "second", Command: []string{"sh", "-c", "echo up; sleep 60"}, Ready: func(ctx context.Context) error {
			select {
			case <-ready:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}},
	)
	defer stop()
	eventually(t, "the first runs", func() bool { return lines(filepath.Join(logDir, "first.log")) == 1 })
	if lines(filepath.Join(logDir, "second.log")) != 0 {
		t.Error("the second did not wait")
	}
	close(ready)
	eventually(t, "the second runs", func() bool { return lines(filepath.Join(logDir, "second.log")) == 1 })
}

func TestStopEndsAUnitThatTakesNoHint(t *testing.T) {
	logDir, stop := start(t, Unit{Name: "stubborn", Command: []string{"sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done"}})
	path := filepath.Join(logDir, "stubborn.log")
	eventually(t, "it runs", func() bool { return lines(path) == 1 })
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(data))); err == nil {
		t.Error("it still runs")
	}
}

func TestReaperTakesOrphansOnly(t *testing.T) {
	// As the first process of a PID namespace does, this one inherits its descendants' orphans for the test.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	children := &children{pids: map[int]bool{}}
	go children.reap(t.Context())

	logDir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	unit := Unit{Name: "parent", Command: []string{"sh", "-c", "(sleep 0.1 & echo $!); exit 7"}}
	err := children.once(ctx, slog.New(slog.DiscardHandler), logDir, unit)
	if err == nil || err.Error() != "exit status 7" {
		t.Errorf("the reaper took the unit's exit status: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(logDir, "parent.log"))
	if err != nil {
		t.Fatal(err)
	}
	orphan := "/proc/" + strings.TrimSpace(string(data))
	eventually(t, "the orphan is gone", func() bool {
		_, err := os.Stat(orphan)
		return os.IsNotExist(err)
	})
}
