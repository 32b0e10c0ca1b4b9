package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secret"
)

func newSecretsCommand(o *hook.Options) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "secrets --spec FILE",
		Short: "Make the Secrets that are missing and check the ones that were given",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.SecretsSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				client, err := kube.New()
				if err != nil {
					return err
				}
				result, err := secret.Ensure(ctx, log, client.Resource(kube.Secrets, spec.Namespace), spec)
				if err == nil {
					log.Info(result.String())
					o.SetResult("%s", result)
				}
				return err
			})
		},
	}
	specFlag(cmd, &path)
	return cmd
}
