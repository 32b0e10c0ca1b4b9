// Package supervise runs a member's programs: it is what a service manager is on a machine, and runs as the first
// process of a PID namespace.
package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Unit is one program that is kept running.
type Unit struct {
	// Name is also that of its log file.
	Name string
	// Command is the program's path and its arguments.
	Command []string
	// Env is added to the environment.
	Env []string
	// Ready is awaited before each start; nil starts at once.
	Ready func(context.Context) error
}

// collectLess lets Go programs take more memory before they look for what they no longer need: a testbed's control plane
// and nodes are all written in Go, and several testbeds share few cores.
const collectLess = "GOGC=300"

const (
	restartAfter = time.Second
	stopWithin   = 5 * time.Second
)

// Run keeps the units running until ctx ends, and stops them then. Their output goes to files in logDir.
func Run(ctx context.Context, log *slog.Logger, logDir string, units ...Unit) error {
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		return err
	}
	children := &children{pids: map[int]bool{}}
	if os.Getpid() == 1 {
		go children.reap(ctx)
	}
	var group sync.WaitGroup
	for _, unit := range units {
		group.Go(func() { children.keep(ctx, log, logDir, unit) })
	}
	group.Wait()
	return nil
}

// children knows the processes that somebody waits for, so that the reaper leaves them alone.
type children struct {
	mu   sync.Mutex
	pids map[int]bool
}

func (c *children) keep(ctx context.Context, log *slog.Logger, logDir string, unit Unit) {
	log = log.With("unit", unit.Name)
	for ctx.Err() == nil {
		if err := c.once(ctx, log, logDir, unit); err != nil && ctx.Err() == nil {
			log.Error("unit ended, starting it again", "error", err, "in", restartAfter)
		}
		select {
		case <-ctx.Done():
		case <-time.After(restartAfter):
		}
	}
}

func (c *children) once(ctx context.Context, log *slog.Logger, logDir string, unit Unit) error {
	if unit.Ready != nil {
		if err := unit.Ready(ctx); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(filepath.Join(logDir, unit.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	command := exec.Command(unit.Command[0], unit.Command[1:]...)
	command.Stdout, command.Stderr = out, out
	command.Env = append(append(os.Environ(), collectLess), unit.Env...)
	if err := c.start(command); err != nil {
		return err
	}
	defer c.forget(command.Process.Pid)
	log.Info("started", "pid", command.Process.Pid)

	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	select {
	case err := <-done:
		if err == nil {
			err = fmt.Errorf("exit status 0")
		}
		return err
	case <-ctx.Done():
	}
	_ = command.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(stopWithin):
		_ = command.Process.Kill()
		<-done
	}
	return nil
}

// start holds the lock so that the reaper cannot take a child that ends at once for an orphan.
func (c *children) start(command *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := command.Start(); err != nil {
		return err
	}
	c.pids[command.Process.Pid] = true
	return nil
}

func (c *children) forget(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pids, pid)
}

// reap waits for orphans, which the first process of a PID namespace inherits. It looks first, without reaping, since
// a child that is waited for elsewhere must be left for that.
func (c *children) reap(ctx context.Context) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		for c.reapOne() {
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (c *children) reapOne() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := endedChild()
	if err != nil || pid == 0 || c.pids[pid] {
		return false
	}
	_, err = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return err == nil
}

// endedChild is the PID of a child that has ended, or 0.
func endedChild() (int, error) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0, err
	}
	return siginfoPID(&info), nil
}
