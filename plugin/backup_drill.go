package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backupjob"
)

func newBackupDrillCommand(o *backupOptions) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "drill [NAME]",
		Short: "Restore a backup into a throw-away database and say whether it is good",
		Long: `Restore a backup into a throw-away database and say whether it is good.

Without a NAME the newest backup is used. A PostgreSQL cluster of its own is created in the release's namespace,
with a volume, a password and NetworkPolicies of its own, and the dump is restored into it. Then the rows of each
table are compared with what the backup recorded, one stored credential is decrypted with the installation's key,
and the schema is brought up to the migrations of the installed images. At the end everything is removed again,
also after Ctrl-C. The release's own database is neither read nor written.

Exit codes: 0 the backup is good; 1 failed; 2 refused; 3 the backup is not good; 124 out of time. With any but 0
and 3 it is not known whether the backup is good.`,
		Example: "  helm neutree backup drill -n nap\n  helm neutree backup drill 20261123-141500 -n nap -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output must be text or json, not %q", output)
			}
			return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, _ *slog.Logger, r *backupjob.Runner) error {
				drill := backupjob.Drill{Runner: r}
				if len(args) > 0 {
					drill.Name = args[0]
				}
				result, err := drill.Run(ctx)
				if err != nil {
					return err
				}
				if output == "json" {
					e := json.NewEncoder(cmd.OutOrStdout())
					e.SetIndent("", "  ")
					err = e.Encode(result)
				} else {
					err = result.WriteReport(cmd.OutOrStdout())
				}
				if err == nil && !result.Passed {
					return exitCode(3)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}
