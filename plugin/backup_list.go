package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/restorefrom"
)

func newBackupListCommand(o *backupOptions) *cobra.Command {
	var output string
	from := &fromFlags{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the backups, the newest first, and say how the schedule fares",
		Long: `List the backups, the newest first, and say how the schedule fares.

With --from, list the copies outside the cluster instead. That takes neither a cluster nor what decrypts them.`,
		Example: `  helm neutree backup list -n nap
  helm neutree backup list -n nap -o json
  helm neutree backup list --from s3://backups/neutree`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output must be table or json, not %q", output)
			}
			if from.From != "" {
				return o.outside(cmd.Context(), func(ctx context.Context) error {
					return listCopies(ctx, cmd, from, o.release, output)
				})
			}
			if err := needFrom(cmd.Flags()); err != nil {
				return err
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
				switch drill, err := r.LastDrill(ctx); {
				case err != nil:
					log.Warn("how the last drill ended is not known", "cause", err.Error())
				case drill != "":
					log.Info(drill)
				}
				if output == "json" {
					return writeJSON(cmd.OutOrStdout(), listing.Backups)
				}
				return listing.WriteTable(cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	from.add(cmd.Flags(), false)
	return cmd
}

// listCopies lists what is outside the cluster.
func listCopies(ctx context.Context, cmd *cobra.Command, from *fromFlags, release, output string) error {
	log := progress.New(cmd.ErrOrStderr())
	store, err := from.Open(log)
	if err != nil {
		return err
	}
	entries, err := restorefrom.List(ctx, store, release)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Problem != "" {
			log.Warn("a copy can't be used", "backup", e.Name, "release", e.Namespace+"."+e.Release, "cause", e.Problem)
		}
	}
	if output == "json" {
		return writeJSON(cmd.OutOrStdout(), entries)
	}
	return restorefrom.WriteTable(cmd.OutOrStdout(), entries)
}

func writeJSON(w io.Writer, list any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(list)
}
