package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/seed"
)

func newSeedCommand(o *hook.Options) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "seed --spec FILE",
		Short: "Run the control plane's seed scripts once the schema is there",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.SeedSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				r := seed.Runner{Environ: os.Environ(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(), Log: log}
				ran, err := r.Run(ctx, spec)
				if err == nil && ran {
					o.SetResult("%d seeds have run", len(spec.Seeds))
				}
				return err
			})
		},
	}
	specFlag(cmd, &path)
	return cmd
}
