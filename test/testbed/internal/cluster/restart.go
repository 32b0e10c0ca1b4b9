package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/member"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// Restart kills a program of the control plane, such as kube-apiserver, and returns when its supervisor has started it
// again and the API server answers.
func (t *Testbed) Restart(ctx context.Context, unit string) error {
	return t.change(ctx, func(c *plan.Cluster, _ cgroup.Hierarchies, state *state) error {
		before, err := unitProcess(state.hubPID(), unit)
		if err != nil {
			return err
		}
		if !before.Alive() {
			return fmt.Errorf("the control plane runs no program %q: it has %s", unit, strings.Join(unitsOf(c, hub.Name), ", "))
		}
		if err := before.Kill(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, readyWithin)
		defer cancel()
		for {
			now, err := unitProcess(state.hubPID(), unit)
			if err == nil && now.Alive() && now != before {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s was not started again: see the logs in %s", unit, c.Path("members"))
			case <-time.After(100 * time.Millisecond):
			}
		}
		return member.APIServerReady(c)(ctx)
	})
}

// unitProcess finds a program among the children of a supervisor. The identity of none is not alive.
func unitProcess(supervisor int, unit string) (supervise.Identity, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", supervisor))
	if err != nil {
		return supervise.Identity{}, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			// The thread has ended meanwhile; what it started belongs to another one now.
			continue
		}
		for _, field := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return supervise.Identity{}, fmt.Errorf("read %s: %w", list, err)
			}
			command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err != nil {
				continue
			}
			program, _, _ := strings.Cut(string(command), "\x00")
			if filepath.Base(program) == unit {
				return supervise.Identify(pid)
			}
		}
	}
	return supervise.Identity{}, nil
}
