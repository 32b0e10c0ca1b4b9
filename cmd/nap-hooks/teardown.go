package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/teardown"
)

func newTeardownCommand(o *hook.Options) *cobra.Command {
	return onCluster(o, &cobra.Command{
		Use:   "teardown --spec FILE",
		Short: "Stop workspaces and database before an uninstall, keeping all data",
		Long: `Stop workspaces and database before an uninstall, keeping all data.

Nothing happens unless Helm's record says that the release is being uninstalled. An uninstall that
would remove an operator on which other databases depend is refused, unless that was allowed. Else,
once the command has tried, it ends with 0 whatever it met: an uninstall must not depend on it. Only a
signal makes it fail, so that its Job tries again.`,
	}, func(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.TeardownSpec) (string, error) {
		return (&teardown.Teardown{Log: log, Client: client, Spec: spec}).Run(ctx)
	})
}
