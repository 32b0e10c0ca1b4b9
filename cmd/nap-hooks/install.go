package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
)

func newInstallCommand(o *hook.Options) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "install --to DIR",
		Short: "Copy this program to where containers of other images can run it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(_ context.Context, log *slog.Logger) error {
				at, err := hook.Install(to)
				if err == nil {
					log.Info("installed", "at", at)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "folder that gets the program")
	requireFlags(cmd, "to")
	return cmd
}
