package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backupjob"
)

func newBackupListCommand(o *backupOptions) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the backups, the newest first, and say how the schedule fares",
		Example: "  helm neutree backup list -n nap\n  helm neutree backup list -n nap -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output must be table or json, not %q", output)
			}
			return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger, r *backupjob.Runner) error {
				listing, err := r.List(ctx)
				if err != nil {
					return err
				}
				for _, warning := range listing.Warnings() {
					log.Warn(warning)
				}
				switch schedule, err := r.Schedule(ctx); {
				case err != nil:
					log.Warn("the last success of the schedule is not known", "cause", err.Error())
				case schedule != "":
					log.Info(schedule)
				}
				if output == "json" {
					e := json.NewEncoder(cmd.OutOrStdout())
					e.SetIndent("", "  ")
					return e.Encode(listing.Backups)
				}
				return listing.WriteTable(cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}
