// Package agent plays the agent that a workspace runs.
package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/device"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/network"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

const (
	// sidecarLimit is how long the sidecars, which start at the same time, may take.
	sidecarLimit = 60 * time.Second
	memoryFuse   = "127.0.0.1:9102"
)

type options struct {
	port          int
	who           workspace.Identity
	controlPlane  string
	dir           string
	afsController string
	afsFuse       string
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	o := options{
		port:          env.Port("PORT", platform.WorkspacePort),
		who:           workspace.ReadIdentity(env),
		controlPlane:  env.Check("CP_URL", contract.URL),
		dir:           env.Required("WORKSPACE_DIR"),
		afsController: env.Check("AFS_CONTROLLER", contract.HostPort),
		afsFuse:       env.Check("AFS_FUSE_SERVER", contract.HostPort),
	}
	return o, env.Err()
}

// Run is the agent from boot to SIGTERM.
func Run(p *process.Process) error {
	o, err := readOptions(p)
	if err != nil {
		return err
	}
	ctx, stop := process.Hear(syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := o.boot(ctx); err != nil {
		return err
	}
	// Terminal and file servers of the real agent: without a NetworkPolicy anybody can reach them.
	for _, port := range []int{7681, 8000, 8001} {
		address := net.JoinHostPort("", strconv.Itoa(port))
		go func() {
			if err := network.Accept(ctx, address); err != nil {
				p.Log.Warn("side port", "error", err)
			}
		}()
	}
	p.Log.Info("listening", "port", o.port)
	return httpserver.Serve(ctx, o.port, o.handler())
}

func (o options) boot(ctx context.Context) error {
	if err := device.CheckWritable(o.dir); err != nil {
		return fmt.Errorf("the workspace's volume: %w", err)
	}
	if err := o.who.Verify(ctx, o.controlPlane, "skills"); err != nil {
		return err
	}
	for what, address := range map[string]string{"afs-fuse": o.afsFuse, "memory-fuse": memoryFuse, "AFS controller": o.afsController} {
		if err := network.Reach(ctx, address, sidecarLimit); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func (o options) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if err := device.CheckWritable(o.dir); err != nil {
			httpserver.Error(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		httpserver.JSON(w, http.StatusOK, map[string]any{"status": "ok", "workspaceId": o.who.ID, "uid": os.Geteuid()})
	})
	return mux
}
