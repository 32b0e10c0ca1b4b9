package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/teardown"
)

func newDeleteCommand(o *hook.Options) *cobra.Command {
	return onCluster(o, &cobra.Command{
		Use:   "delete --spec FILE",
		Short: "Delete the data of a release that has been uninstalled",
		Long: `Delete the data of a release that has been uninstalled.

Nothing happens unless Helm's record says that the release is being uninstalled. The command waits
until what it deleted is gone, and lists what stays.`,
	}, func(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.DeleteSpec) (string, error) {
		return (&teardown.Delete{Log: log, Client: client, Spec: spec}).Run(ctx)
	})
}
