package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/progress"
)

// backupOptions are what all commands of backup have in common.
type backupOptions struct {
	settings *helmenv.Settings
	release  string
	timeout  time.Duration
}

func newBackupCommand(settings *helmenv.Settings) *cobra.Command {
	o := &backupOptions{settings: settings}
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Make, list, copy, try, restore and delete backups of a release's databases",
		Long: `Make, list, copy, try, restore and delete backups of a release's databases.

A backup contains the platform's database and that of AFS's controller, not the files of workspaces. It is in a PVC
that an uninstall keeps. Copies outside the cluster, which global.backup makes, are reached with --from.

Exit codes: 0 done, 1 failed, 2 refused, 124 out of time.`,
		Example: `  helm neutree backup create -n nap
  helm neutree backup list -n nap
  helm neutree backup drill -n nap
  helm neutree backup restore 20261123-141500 -n nap
  helm neutree backup list --from s3://backups/neutree`,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.release, "release", "",
		"name of the release, where its namespace has several; with --from also NAMESPACE.NAME")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Minute, "give up after this long")
	cmd.AddCommand(newBackupCreateCommand(o), newBackupDeleteCommand(o), newBackupDrillCommand(o),
		newBackupListCommand(o), newBackupPullCommand(o), newBackupPushCommand(o), newBackupRestoreCommand(o),
		newBackupVerifyCommand(o))
	return cmd
}

// run finds the release and calls do with what works on its backups.
func (o *backupOptions) run(ctx context.Context, talk io.Writer, do func(context.Context, *slog.Logger, *backupjob.Runner) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	config, err := o.settings.Connect()
	if err != nil {
		return err
	}
	client, err := kube.NewForConfig(config)
	if err != nil {
		return err
	}
	log := progress.New(talk)
	plan, err := backupjob.Find(ctx, client, o.settings.Namespace(), o.release)
	if err != nil {
		return hook.Stopped(ctx, err)
	}
	return hook.Stopped(ctx, do(ctx, log, backupjob.New(log, client, o.settings.Namespace(), plan)))
}
