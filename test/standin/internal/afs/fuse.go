package afs

import (
	"cmp"
	"fmt"
	"time"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/device"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/network"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
)

// dataDir is where a workspace has the volume that all of them share. The real sidecar knows no other place.
const dataDir = "/data/afs"

// reachLimit is how long the sidecar waits for the controller and the control plane.
const reachLimit = 30 * time.Second

type fuseFile struct {
	Server struct {
		Listen     string `toml:"listen"`
		Controller string `toml:"controller_addr"`
	} `toml:"server"`
	Controller string `toml:"controller_addr"`
}

// Fuse runs with one argument, its TOML file, until it is killed: it has no signal handler.
func Fuse(p *process.Process) error {
	if len(p.Args) != 1 {
		return fmt.Errorf("usage: afs-fuse CONFIG.toml, not %q", p.Args)
	}
	var file fuseFile
	if err := decode(p.Args[0], &file); err != nil {
		return err
	}
	controller := cmp.Or(file.Controller, file.Server.Controller)
	if err := platform.HostPort.Check(controller); err != nil {
		return fmt.Errorf("%s: controller_addr %w", p.Args[0], err)
	}
	if err := checkListen(file.Server.Listen); err != nil {
		return fmt.Errorf("%s: server.listen: %w", p.Args[0], err)
	}
	env := config.New(p.Lookup)
	bootstrap, token := env.Check("AFS_BOOTSTRAP_URL", platform.URL), env.Secret("AFS_BOOTSTRAP_TOKEN")
	if err := env.Err(); err != nil {
		return err
	}
	ctx, stop := process.Hear()
	defer stop()
	if err := device.CheckFuse(); err != nil {
		return err
	}
	if err := device.CheckWritable(dataDir); err != nil {
		return fmt.Errorf("the shared volume: %w", err)
	}
	if err := network.Reach(ctx, controller, reachLimit); err != nil {
		return fmt.Errorf("the controller: %w", err)
	}
	if err := httpserver.Get(ctx, bootstrap, httpserver.Bearer(token), nil); err != nil {
		return fmt.Errorf("AFS_BOOTSTRAP_URL: %w", err)
	}
	p.Log.Info("listening", "address", file.Server.Listen, "controller", controller)
	return network.Accept(ctx, file.Server.Listen)
}
