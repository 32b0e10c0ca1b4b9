package main

import (
	"bufio"
	"context"
	"errors"
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
	from := &restoreFromFlags{}
	var yes, otherKey bool
	cmd := &cobra.Command{
		Use:   "restore [NAME]",
		Short: "Bring the databases of a release back to a backup, or a whole release from a copy",
		Long: `Bring the databases of a release back to a backup, or a whole release from a copy.

The backup is checked first, and what there is now is saved. Then the services that use the databases are
stopped, the databases are replaced, each in one transaction, and the services are started again. Meanwhile the
platform is down. Suspend ArgoCD or Flux first, which would start the services again (docs/gitops.md).

Until it ends, upgrades, rollbacks and other restores are refused. The same command again finishes a restore
that did not end. If services ran since, it starts over with a new check and a new backup of what is there.
--abandon gives up an unfinished restore for another backup. Without a NAME it gives up one that has not
touched the databases yet.

With --from, bring a release back from a copy outside the cluster, into an empty cluster or another namespace: create
the namespace and the Secrets that are missing, install the release with the values that it had, copy the backup into
the cluster and restore it. NAME or latest says which copy. --identity decrypts it on this machine: the key does not
reach the cluster nor its disks. --dry-run shows what would be done, and the values. --values-out writes the values to
a file to edit, and ends; --values installs with that file. The same command again continues after a failure.

Exit codes: 0 restored; 1 failed, and the services run on the databases as they were; 2 refused; 3 the restore
has to be finished by another run, and the services stay stopped until then; 124 out of time.`,
		Example: `  helm neutree backup restore 20261123-141500 -n nap
  helm neutree backup restore latest -n nap --from ./backups --identity key.txt --dry-run`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("name one backup, not %d", len(args))
			case len(args) == 0 && !restore.Abandon:
				return errors.New("name the backup to restore; helm neutree backup list shows them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if from.From != "" {
				if restore.Abandon || restore.NoSafetyBackup {
					return hook.Errorf(hook.Usage, "--abandon and --no-safety-backup are for backups in the cluster, without --from")
				}
				from.AllowNewer, from.AllowOtherKey, from.yes = restore.AllowNewer, otherKey, yes
				return from.run(cmd, o, args[0])
			}
			if err := needFrom(cmd.Flags(), fromOnly...); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger, r *backupjob.Runner) error {
				restore.Runner = r
				r.AllowOtherKey = otherKey
				if len(args) > 0 {
					restore.Name = args[0]
					if !yes {
						if err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), r.Plan.Release, args[0]); err != nil {
							return err
						}
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
	flags.BoolVar(&restore.Abandon, "abandon", false, "give up an unfinished restore of another backup")
	flags.BoolVar(&otherKey, "allow-other-key", false,
		"also a backup whose credentials are encrypted with another key than the installation's")
	from.addAll(flags)
	return cmd
}

// confirm asks for the release's name, which no one types by accident.
func confirm(in io.Reader, talk io.Writer, release, name string) error {
	fmt.Fprintf(talk, "This replaces the databases of release %s by backup %s and stops its services meanwhile.\n"+
		"Type the release's name to continue: ", release, name)
	line, _ := bufio.NewReader(in).ReadString('\n')
	if answer := strings.TrimSpace(line); answer != release {
		return hook.Refusef(finding.BackupNotConfirmed, "--yes leaves the question out",
			"nothing was changed: %q is not the release's name %q", answer, release)
	}
	return nil
}
