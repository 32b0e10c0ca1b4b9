package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
)

func newCopyCommand(o *hook.Options) *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "copy --from DIR --to DIR",
		Short: "Copy a service's migrations out of its image",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(_ context.Context, log *slog.Logger) error {
				n, err := hook.CopySQL(from, to)
				if err == nil {
					log.Info("copied migrations", "from", from, "to", to, "files", n)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "folder of the image that holds the .sql files")
	cmd.Flags().StringVar(&to, "to", "", "folder that gets them")
	requireFlags(cmd, "from", "to")
	return cmd
}
