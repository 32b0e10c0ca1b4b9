package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/guard"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

func newGuardCommand(o *hook.Options) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "guard --spec FILE",
		Short: "Prove that the cluster can take the release before anything is created",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.GuardSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				client, err := kube.New()
				if err != nil {
					return err
				}
				return guard.Run(ctx, log, client, spec)
			})
		},
	}
	specFlag(cmd, &path)
	return cmd
}
