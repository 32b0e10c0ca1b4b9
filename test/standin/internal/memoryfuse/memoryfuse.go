// Package memoryfuse plays the sidecar that mounts the memory of a workspace.
package memoryfuse

import (
	"fmt"

	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/device"
	"github.com/neutree-ai/packaging/test/standin/internal/network"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// Run is the sidecar from boot until it is killed: it has no signal handler.
func Run(p *process.Process) error {
	env := config.New(p.Lookup)
	who := workspace.ReadIdentity(env)
	controlPlane := env.Check("CP_URL", contract.URL)
	address := env.Optional("GRPC_LISTEN_ADDR", ":9102")
	cache := env.Optional("MEMORY_CACHE_ROOT", "/var/cache/memory-fuse")
	if err := env.Err(); err != nil {
		return err
	}
	ctx, stop := process.Hear()
	defer stop()
	if err := device.CheckFuse(); err != nil {
		return err
	}
	if err := device.CheckWritable(cache); err != nil {
		return fmt.Errorf("MEMORY_CACHE_ROOT: %w", err)
	}
	if err := who.Verify(ctx, controlPlane, "memory"); err != nil {
		return err
	}
	p.Log.Info("listening", "address", address)
	return network.Accept(ctx, address)
}
