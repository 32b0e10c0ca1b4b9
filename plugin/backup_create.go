package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/backupjob"
)

func newBackupCreateCommand(o *backupOptions) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Make a backup now and print its name",
		Example: "  helm neutree backup create -n nap --reason 'before moving to new nodes'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger, r *backupjob.Runner) error {
				name := backup.NewName(time.Now())
				summary, err := r.CreateByHand(ctx, name, reason)
				if err != nil {
					return err
				}
				log.Info(summary)
				_, err = fmt.Fprintln(cmd.OutOrStdout(), name)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "by hand", "why it is made, for the list")
	return cmd
}
