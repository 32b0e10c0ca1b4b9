// Command testbed runs a Kubernetes cluster of several nodes on one Linux machine, without a container engine and
// without anything from an image registry.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/neutree-ai/packaging/test/testbed/internal/netpolicy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if filepath.Base(os.Args[0]) == netpolicy.PluginName {
		plugin(ctx)
		return
	}
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "testbed: "+err.Error())
		os.Exit(1)
	}
}

// plugin answers the container runtime in its way.
func plugin(ctx context.Context) {
	if err := netpolicy.Plugin(ctx, os.Getenv, os.Stdin, os.Stdout); err != nil {
		os.Stdout.Write(netpolicy.PluginError(err))
		os.Exit(1)
	}
}
