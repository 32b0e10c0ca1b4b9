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
	var path string
	cmd := &cobra.Command{
		Use:   "delete --spec FILE",
		Short: "Delete the data of a release that has been uninstalled",
		Long: `Delete the data of a release that has been uninstalled.

Nothing happens unless Helm's record says that the release is being uninstalled. The command waits
until what it deleted is gone, and lists what stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.DeleteSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				client, err := kube.New()
				if err != nil {
					return err
				}
				d := &teardown.Delete{Log: log, Client: client, Spec: spec}
				summary, err := d.Run(ctx)
				o.SetResult("%s", summary)
				return err
			})
		},
	}
	specFlag(cmd, &path)
	return cmd
}
