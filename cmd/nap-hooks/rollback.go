package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/upgrade"
)

func newRollbackCommand(o *hook.Options) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "rollback --spec FILE",
		Short: "Decide whether an older revision can use the database as it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.RollbackSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				client, err := kube.New()
				if err != nil {
					return err
				}
				result, err := (&upgrade.Rollback{Log: log, Client: client, Spec: spec}).Run(ctx)
				if err == nil {
					log.Info(result)
					o.SetResult("%s", result)
				}
				return err
			})
		},
	}
	specFlag(cmd, &path)
	return cmd
}
