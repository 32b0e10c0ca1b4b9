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
	return onCluster(o, &cobra.Command{
		Use:   "guard --spec FILE",
		Short: "Prove that the cluster can take the release before anything is created",
	}, func(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.GuardSpec) (string, error) {
		return "", guard.Run(ctx, log, client, spec)
	})
}
