package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/netpolicy"
	"github.com/neutree-ai/packaging/test/testbed/internal/node"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/preflight"
)

// The commands below are what up starts inside the testbed's namespaces; nobody runs them by hand.

func newHub() *cobra.Command {
	return inside("hub", cobra.NoArgs, func(ctx context.Context, log *slog.Logger, c *plan.Cluster, _ []string) error {
		return hub.Run(ctx, log, c)
	})
}

func newServices() *cobra.Command {
	return inside("services", cobra.NoArgs, func(ctx context.Context, _ *slog.Logger, c *plan.Cluster, _ []string) error {
		return hub.RunServices(ctx, c)
	})
}

func newNodeRun() *cobra.Command {
	return inside("run NODE", cobra.ExactArgs(1), func(ctx context.Context, log *slog.Logger, c *plan.Cluster, args []string) error {
		return node.Run(ctx, log, c, args[0])
	})
}

func newNetworkPolicy() *cobra.Command {
	return inside("network-policy NODE", cobra.ExactArgs(1), func(ctx context.Context, log *slog.Logger, c *plan.Cluster, args []string) error {
		return netpolicy.Run(ctx, log, c, args[0])
	})
}

// newProbe is what up runs to try the machine.
func newProbe() *cobra.Command {
	return &cobra.Command{
		Use:    preflight.ProbeCommand + " DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return preflight.Inside(args[0], command.OutOrStdout())
		},
	}
}

func inside(use string, args cobra.PositionalArgs, run func(context.Context, *slog.Logger, *plan.Cluster, []string) error) *cobra.Command {
	var state string
	command := &cobra.Command{
		Use:    use,
		Hidden: true,
		Args:   args,
		RunE: func(command *cobra.Command, args []string) error {
			c, err := plan.Load(state)
			if err != nil {
				return err
			}
			return run(command.Context(), slog.New(slog.NewTextHandler(os.Stderr, nil)), c, args)
		},
	}
	command.Flags().StringVar(&state, "state", "", "the testbed's state directory")
	return command
}
