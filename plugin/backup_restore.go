package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

func newBackupRestoreCommand(o *backupOptions) *cobra.Command {
	restore := backupjob.Restore{}
	var yes, otherKey bool
	cmd := &cobra.Command{
		Use:   "restore NAME",
		Short: "Bring the databases of a release back to a backup",
		Long: `Bring the databases of a release back to a backup.

The backup is checked first, and what there is now is saved. Then the services that use the databases are
stopped, the databases are replaced, each in one transaction, and the services are started again. Meanwhile the
platform is down. The same command again takes up a restore whose client was killed.`,
		Example: "  helm neutree backup restore 20261123-141500 -n nap",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger, r *backupjob.Runner) error {
				restore.Runner, restore.Name = r, args[0]
				r.AllowOtherKey = otherKey
				if !yes {
					if err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), r.Plan.Release, args[0]); err != nil {
						return err
					}
				}
				result, err := restore.Run(ctx)
				if err != nil {
					return err
				}
				log.Info(result)
				return nil
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&yes, "yes", false, "do not ask")
	flags.BoolVar(&restore.NoSafetyBackup, "no-safety-backup", false, "do not save what there is now")
	flags.BoolVar(&restore.AllowNewer, "allow-newer-schema", false, "also a backup of a newer release than the one that is installed")
	flags.BoolVar(&otherKey, "allow-other-key", false,
		"also a backup whose credentials are encrypted with another key than the installation's")
	return cmd
}

// confirm asks for the release's name, which nobody types by accident.
func confirm(in io.Reader, talk io.Writer, release, name string) error {
	fmt.Fprintf(talk, "This replaces the databases of release %s by backup %s and stops its services meanwhile.\nType the release's name to go on: ", release, name)
	line, _ := bufio.NewReader(in).ReadString('\n')
	if answer := strings.TrimSpace(line); answer != release {
		return hook.Refusef(finding.BackupNotConfirmed, "--yes leaves the question out",
			"nothing was changed: %q is not the release's name %q", answer, release)
	}
	return nil
}
