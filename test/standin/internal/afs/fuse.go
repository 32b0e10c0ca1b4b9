package afs

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/neutree-ai/packaging/test/contract"
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

// readBootstrap reads what the sidecar asks the control plane for, and with which header. One image serves workspaces of
// both generations of the platform: env runners of v0.2.0 give no token, and where one is needed the control plane
// refuses the request (the platform's contract, §4.3).
func readBootstrap(p *process.Process) (string, http.Header, error) {
	env := config.New(p.Lookup)
	address := env.Check("AFS_BOOTSTRAP_URL", contract.URL)
	if _, given := p.Lookup("AFS_BOOTSTRAP_TOKEN"); !given {
		return address, nil, env.Err()
	}
	return address, httpserver.Bearer(env.Secret("AFS_BOOTSTRAP_TOKEN")), env.Err()
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
	if err := contract.HostPort.Check(controller); err != nil {
		return fmt.Errorf("%s: controller_addr %w", p.Args[0], err)
	}
	if err := checkListen(file.Server.Listen); err != nil {
		return fmt.Errorf("%s: server.listen: %w", p.Args[0], err)
	}
	bootstrap, header, err := readBootstrap(p)
	if err != nil {
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
	if err := httpserver.Get(ctx, bootstrap, header, nil); err != nil {
		return fmt.Errorf("AFS_BOOTSTRAP_URL: %w", err)
	}
	p.Log.Info("listening", "address", file.Server.Listen, "controller", controller)
	return network.Accept(ctx, file.Server.Listen)
}
