package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/preflight"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// startMember starts the first process of the hub or of a node in namespaces of its own, connects its network, and
// lets it go on.
func startMember(c *plan.Cluster, groups cgroup.Hierarchies, name string, args []string, connect func(pid int) error) (supervise.Identity, error) {
	fail := func(err error) (supervise.Identity, error) {
		return supervise.Identity{}, fmt.Errorf("start %s: %w", name, err)
	}
	logPath := c.Log(name, "supervisor")
	if err := os.MkdirAll(filepath.Dir(logPath), 0o755); err != nil {
		return fail(err)
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fail(err)
	}
	defer log.Close()
	wait, goOn, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer goOn.Close()

	command := exec.Command(c.Binaries["testbed"], args...)
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{wait}
	command.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: preflight.Namespaces}
	err = command.Start()
	wait.Close()
	if err != nil {
		return fail(fmt.Errorf("make its namespaces: %w", err))
	}
	// It outlives this process, which therefore does not wait for it.
	defer command.Process.Release()
	identity, err := supervise.Identify(command.Process.Pid)
	if err != nil {
		return fail(err)
	}
	for _, step := range []func() error{
		func() error { return groups.Add(name, identity.PID) },
		func() error { return connect(identity.PID) },
		func() error { _, err := goOn.Write([]byte{1}); return err },
	} {
		if err := step(); err != nil {
			_ = identity.Kill()
			return fail(err)
		}
	}
	return identity, nil
}

func startHub(c *plan.Cluster, groups cgroup.Hierarchies) (supervise.Identity, error) {
	return startMember(c, groups, hub.Name, []string{"hub", "--state", c.StateDir}, func(pid int) error {
		return connectHub(c, pid)
	})
}

// restartNode starts a node after clearing what is left of it from before.
func restartNode(c *plan.Cluster, groups cgroup.Hierarchies, hubPID int, name string) (supervise.Identity, error) {
	n, err := c.Number(name)
	if err != nil {
		return supervise.Identity{}, err
	}
	if err := groups.Remove(name, removeWithin); err != nil {
		return supervise.Identity{}, err
	}
	if err := groups.Create(name); err != nil {
		return supervise.Identity{}, err
	}
	return startMember(c, groups, name, []string{"node", "run", "--state", c.StateDir, name}, func(pid int) error {
		return connectNode(c, hubPID, pid, n)
	})
}
