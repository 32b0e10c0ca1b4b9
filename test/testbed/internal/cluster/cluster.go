// Package cluster brings a testbed up and takes it down again.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/images"
	"github.com/neutree-ai/packaging/test/testbed/internal/member"
	"github.com/neutree-ai/packaging/test/testbed/internal/pki"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/preflight"
	"github.com/neutree-ai/packaging/test/testbed/internal/registry"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// Testbed is one of the testbeds of a machine.
type Testbed struct {
	// Name tells it from the others.
	Name string
	// Log is told each step.
	Log *slog.Logger
	// Base holds the state directories of all testbeds.
	Base string
	// StateDir holds everything that lives as long as the testbed does: the directory of its name in Base.
	StateDir string
	// CacheDir holds what is built once and kept.
	CacheDir string
	// Images are those that are built and that the registry serves.
	Images images.Set
}

// Up brings a testbed up and returns when its nodes are Ready and its images can be pulled. One that runs with the
// same parameters already is completed where something of it is missing.
func (t *Testbed) Up(ctx context.Context, parameters plan.Parameters) error {
	if err := parameters.Validate(Versions()); err != nil {
		return err
	}
	groups, err := cgroup.Mounted(t.Name)
	if err != nil {
		return err
	}
	if err := preflight.Root(); err != nil {
		return err
	}
	if err := preflight.ForeignRoute(plan.Reserved, isHostLink); err != nil {
		return err
	}
	unlock, err := lock(ctx, t.Log, t.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	defer t.forgetEmpty()
	if err := refuseForeign(t.StateDir); err != nil {
		return err
	}

	c, state, err := t.running(parameters)
	if err != nil {
		return err
	}
	if c == nil {
		c, state, err = t.create(ctx, groups, parameters)
	}
	if err != nil {
		return err
	}
	started, err := t.startMissing(c, groups, state)
	if err != nil {
		return err
	}
	if err := t.await(ctx, c, started); err != nil {
		return err
	}
	if state.Complete {
		return t.Push(ctx)
	}
	state.Complete = true
	return state.write(t.StateDir)
}

// running is the plan of a testbed that runs, or nil. One whose hub has died, or that was never completed, does not.
func (t *Testbed) running(wanted plan.Parameters) (*plan.Cluster, *state, error) {
	state, err := readState(t.StateDir)
	if err != nil {
		return nil, nil, err
	}
	if !state.Complete || !state.Members[hub.Name].Alive() {
		return nil, nil, nil
	}
	c, err := plan.Load(t.StateDir)
	if err != nil {
		return nil, nil, err
	}
	if c.Parameters != wanted {
		return nil, nil, fmt.Errorf("a testbed with %s runs already, which cannot become one with %s: run testbed %sdown first",
			describe(c.Parameters), describe(wanted), t.flag())
	}
	t.Log.Info("it runs already with " + describe(wanted))
	return c, state, nil
}

func describe(p plan.Parameters) string {
	policies := "enforced"
	if !p.NetworkPolicies {
		policies = "not enforced"
	}
	description := fmt.Sprintf("%d node(s), Kubernetes %s, NetworkPolicies %s", p.Nodes, p.Kubernetes, policies)
	if p.Audit {
		description += ", an audit log"
	}
	return description
}

// create clears what an earlier testbed left and writes everything that a new one's members read.
func (t *Testbed) create(ctx context.Context, groups cgroup.Hierarchies, parameters plan.Parameters) (*plan.Cluster, *state, error) {
	if err := preflight.Prepare(ctx, t.Log, groups, t.StateDir); err != nil {
		return nil, nil, err
	}
	c := &plan.Cluster{Parameters: parameters, Name: t.Name, StateDir: t.StateDir}
	list, err := t.build(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if err := t.clear(groups); err != nil {
		return nil, nil, err
	}
	if err := preflight.Memory(parameters.Nodes); err != nil {
		return nil, nil, err
	}
	if err := preflight.Watches(parameters.Nodes); err != nil {
		return nil, nil, err
	}
	if err := t.reserve(ctx, c, routed); err != nil {
		return nil, nil, err
	}
	return c, &state{Members: map[string]supervise.Identity{}}, t.writeFiles(c, list)
}

// writeFiles writes what the members read.
func (t *Testbed) writeFiles(c *plan.Cluster, list registry.List) error {
	t.Log.Info("writing certificates and configuration")
	if err := copyTestbed(c); err != nil {
		return err
	}
	if err := pki.Create(c); err != nil {
		return err
	}
	if err := list.Write(c.Images()); err != nil {
		return err
	}
	return c.Save()
}

// copyTestbed puts this program beside what it runs, so that a build while the testbed runs does not pull it from
// under it.
func copyTestbed(c *plan.Cluster) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	to := c.Path("bin", "testbed")
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	c.Binaries["testbed"] = to
	return nil
}

// startMissing starts the members that do not run: all of them in a new testbed. It returns when it started which.
func (t *Testbed) startMissing(c *plan.Cluster, groups cgroup.Hierarchies, state *state) (map[string]time.Time, error) {
	if !state.Members[hub.Name].Alive() {
		t.Log.Info("starting the control plane")
		if err := groups.Create(hub.Name); err != nil {
			return nil, err
		}
		identity, err := startHub(c, groups)
		if err != nil {
			return nil, err
		}
		state.Members[hub.Name] = identity
		if err := state.write(t.StateDir); err != nil {
			return nil, err
		}
	}
	return t.startNodes(c, groups, state, c.NodeNames())
}

func (t *Testbed) startNodes(c *plan.Cluster, groups cgroup.Hierarchies, state *state, names []string) (map[string]time.Time, error) {
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		failed  error
		started = map[string]time.Time{}
	)
	for _, name := range names {
		mu.Lock()
		alive := state.Members[name].Alive()
		mu.Unlock()
		if alive {
			continue
		}
		t.Log.Info("starting " + name)
		started[name] = time.Now()
		hubPID := state.hubPID()
		group.Go(func() {
			identity, err := restartNode(c, groups, hubPID, name)
			mu.Lock()
			defer mu.Unlock()
			state.Members[name] = identity
			failed = errors.Join(failed, err)
		})
	}
	group.Wait()
	return started, errors.Join(failed, state.write(t.StateDir))
}

// DefaultName is the name of a testbed that was given none.
const DefaultName = "default"

// flag is what a command line needs to mean this testbed, with a space after it.
func (t *Testbed) flag() string {
	if t.Name == DefaultName {
		return ""
	}
	return "--name " + t.Name + " "
}

// load is the plan and the state of a testbed that is there.
func (t *Testbed) load() (*plan.Cluster, *state, error) {
	c, err := plan.Load(t.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("no testbed in %s: run testbed %sup", t.StateDir, t.flag())
	}
	if err != nil {
		return nil, nil, err
	}
	state, err := readState(t.StateDir)
	return c, state, err
}

// await waits until the cluster can be used.
func (t *Testbed) await(ctx context.Context, c *plan.Cluster, started map[string]time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	fail := func(what string, err error) error {
		return fmt.Errorf("wait for %s: %w: see the logs in %s", what, err, c.Path("members"))
	}
	t.Log.Info("waiting for the API server")
	if err := member.APIServerReady(c)(ctx); err != nil {
		return fail("the API server", err)
	}
	client, err := newClient(c)
	if err != nil {
		return err
	}
	t.Log.Info("creating storage classes and the name service")
	if err := applyObjects(ctx, client, c); err != nil {
		return fail("the API server", err)
	}
	t.Log.Info("waiting for the nodes")
	if err := awaitNodes(ctx, client, c.NodeNames(), started); err != nil {
		return fail("the nodes", err)
	}
	if err := member.ListenerReady("tcp", c.Registry())(ctx); err != nil {
		return fail("the registry", err)
	}
	return nil
}
