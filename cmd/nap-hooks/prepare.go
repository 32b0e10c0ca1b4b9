package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/upgrade"
)

func newPrepareCommand(o *hook.Options) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "prepare --spec FILE",
		Short: "Refuse what could not work, make Secrets, pull new images and migrate, before anything is replaced",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.PrepareSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				client, err := kube.New()
				if err != nil {
					return err
				}
				p := &upgrade.Prepare{
					Log: log, Client: client, Spec: spec,
					Jobs: &jobrun.Runner{Log: log, Client: client, Namespace: spec.Namespace},
				}
				result, err := p.Run(ctx)
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
