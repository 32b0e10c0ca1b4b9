package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// state is what is remembered about a testbed's processes, in its state directory.
type state struct {
	// Members maps a member's name to its first process.
	Members map[string]supervise.Identity `json:"members"`
	// Complete says that up got to its end.
	Complete bool `json:"complete"`
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

// readState reads the state; without any it is empty.
func readState(dir string) (*state, error) {
	s := &state{Members: map[string]supervise.Identity{}}
	data, err := os.ReadFile(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the testbed's state: %w", err)
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read the testbed's state %s: %w: run testbed down", statePath(dir), err)
	}
	return s, nil
}

func (s *state) hubPID() int { return s.Members[hub.Name].PID }

// write replaces the state in one step, so that a killed writer leaves no half of one.
func (s *state) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write the testbed's state: %w", err)
	}
	temporary := statePath(dir) + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the testbed's state: %w", err)
	}
	if err := os.Rename(temporary, statePath(dir)); err != nil {
		return fmt.Errorf("write the testbed's state: %w", err)
	}
	return nil
}

// lock takes the testbed's lock, which is the state directory itself: it is made when missing, and no file is left
// beside it. What lock returns releases it.
func lock(ctx context.Context, log *slog.Logger, dir string) (func(), error) {
	for told := false; ; told = true {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the state directory: %w", err)
		}
		file, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open the state directory: %w", err)
		}
		locked, err := tryLock(file, dir)
		if locked {
			return func() { file.Close() }, nil
		}
		file.Close()
		if err != nil {
			return nil, err
		}
		if !told {
			log.Info("waiting for another testbed command to finish")
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another testbed command to finish: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tryLock also sees to it that the directory is still the one of that name: whoever had the lock may have removed it.
func tryLock(file *os.File, dir string) (bool, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock the state directory: %w", err)
	}
	mine, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("lock the state directory: %w", err)
	}
	current, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock the state directory: %w", err)
	}
	return os.SameFile(mine, current), nil
}
