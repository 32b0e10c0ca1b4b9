package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/preflight"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// Kubeconfig is the path of the administrator's.
func (t *Testbed) Kubeconfig() (string, error) {
	c, _, err := t.load()
	if err != nil {
		return "", err
	}
	return c.Kubeconfig(), nil
}

// Logs copies what a unit of a member has written.
func (t *Testbed) Logs(name, unit string, out io.Writer) error {
	c, _, err := t.load()
	if err != nil {
		return err
	}
	if name != hub.Name {
		if _, err := c.Number(name); err != nil {
			return err
		}
	}
	file, err := os.Open(c.Log(name, unit))
	if errors.Is(err, fs.ErrNotExist) || strings.ContainsRune(unit, filepath.Separator) {
		return fmt.Errorf("%s has no unit %q: it has %s", name, unit, strings.Join(unitsOf(c, name), ", "))
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer file.Close()
	_, err = io.Copy(out, file)
	return err
}

func unitsOf(c *plan.Cluster, name string) []string {
	files, err := filepath.Glob(c.Log(name, "*"))
	if err != nil {
		return nil
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".log"))
	}
	return names
}

// StopNode ends a node as a power cut does.
func (t *Testbed) StopNode(ctx context.Context, name string) error {
	return t.changeNode(ctx, name, func(c *plan.Cluster, groups cgroup.Hierarchies, state *state) error {
		if err := state.Members[name].Kill(); err != nil {
			return err
		}
		if err := groups.Remove(name, removeWithin); err != nil {
			return err
		}
		state.Members[name] = supervise.Identity{}
		return state.write(t.StateDir)
	})
}

// StartNode starts a node that was stopped and waits until it is ready.
func (t *Testbed) StartNode(ctx context.Context, name string) error {
	return t.changeNode(ctx, name, func(c *plan.Cluster, groups cgroup.Hierarchies, state *state) error {
		started, err := t.startNodes(c, groups, state, []string{name})
		if err != nil {
			return err
		}
		client, err := newClient(c)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, readyWithin)
		defer cancel()
		return awaitNodes(ctx, client, []string{name}, started)
	})
}

func (t *Testbed) changeNode(ctx context.Context, name string, change func(*plan.Cluster, cgroup.Hierarchies, *state) error) error {
	return t.change(ctx, func(c *plan.Cluster, groups cgroup.Hierarchies, state *state) error {
		if _, err := c.Number(name); err != nil {
			return err
		}
		return change(c, groups, state)
	})
}

// change does something to the testbed that runs, while nobody else does.
func (t *Testbed) change(ctx context.Context, change func(*plan.Cluster, cgroup.Hierarchies, *state) error) error {
	if err := preflight.Root(); err != nil {
		return err
	}
	if _, _, err := t.load(); err != nil {
		return err
	}
	groups, err := cgroup.Mounted(t.Name)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, t.Log, t.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	c, state, err := t.load()
	if err != nil {
		return err
	}
	if !state.Members[hub.Name].Alive() {
		return fmt.Errorf("the testbed does not run: run testbed %sup", t.flag())
	}
	return change(c, groups, state)
}
