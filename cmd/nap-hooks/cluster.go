package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// onCluster completes the command of a hook that acts on the cluster as a spec of type T says. The sentence that act
// returns is the outcome.
func onCluster[T any](o *hook.Options, cmd *cobra.Command, act func(ctx context.Context, log *slog.Logger, client *kube.Client, spec T) (string, error)) *cobra.Command {
	var path string
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		spec, err := hook.ReadSpec[T](path)
		if err != nil {
			return err
		}
		return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
			client, err := kube.New()
			if err != nil {
				return err
			}
			result, err := act(ctx, log, client, spec)
			if result != "" {
				o.SetResult("%s", result)
			}
			return err
		})
	}
	specFlag(cmd, &path)
	return cmd
}
