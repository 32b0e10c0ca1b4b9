package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/rebuild"
)

func newRebuildCommand(o *hook.Options) *cobra.Command {
	return onCluster(o, &cobra.Command{
		Use:   "rebuild --spec FILE",
		Short: "Rebuild the workspaces whose pods an older version started, after an upgrade",
	}, func(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.RebuildSpec) (string, error) {
		return (&rebuild.Rebuild{Log: log, Client: client, Spec: spec, Token: os.Getenv("PLUGIN_ADMIN_TOKEN")}).Run(ctx)
	})
}
