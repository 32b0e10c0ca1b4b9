package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backupjob"
)

func newBackupDeleteCommand(o *backupOptions) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a backup",
		Example: "  helm neutree backup delete 20261123-141500 -n nap",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger, r *backupjob.Runner) error {
				if err := r.Delete(ctx, args[0]); err != nil {
					return err
				}
				log.Info("backup " + args[0] + " is deleted")
				return nil
			})
		},
	}
}
