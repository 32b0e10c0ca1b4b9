package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

func newBackupCommand(o *hook.Options) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "backup --spec FILE create|scheduled|list|check|restore|drill|delete|hold|send|receive",
		Short: "Save the databases to the claim that is mounted, or bring them back",
		Long: `Save the databases to the claim that is mounted, or bring them back.

It runs where PostgreSQL's client programs are. The environment holds DATABASE_URL and, for a restore,
CREDENTIAL_ENCRYPTION_KEY.

Where the spec says so, create and scheduled copy the backup out of the cluster, encrypted, when it is complete. If that
fails, the exit code is 10, or 1 where another try may help, and the backup stays; with a backup before an upgrade or a
restore it is a warning.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return hook.Errorf(hook.Usage, "say what to do: create, scheduled, list, check, restore, drill, delete, hold, send or receive")
		},
	}
	cmd.PersistentFlags().StringVar(&path, "spec", "", "YAML file that says what to do")

	var name, reason, job string
	var keep []string
	var newer, otherKey, fresh bool
	// sub makes a subcommand whose result is one sentence.
	sub := func(use, short string, do func(context.Context, *backup.Backup) (string, error)) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.BackupSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				b := &backup.Backup{
					Log: log, Spec: spec, DatabaseURL: os.Getenv("DATABASE_URL"), CredentialKey: os.Getenv("CREDENTIAL_ENCRYPTION_KEY"),
					Note:          os.Getenv(restorenote.Env),
					AllowOtherKey: otherKey, Fresh: fresh,
				}
				if spec.Copies != nil {
					b.Copies = offsite.Copies{Log: log, Spec: spec}
				}
				result, err := do(ctx, b)
				if err == nil {
					o.SetResult("%s", result)
				}
				return err
			})
		}}
	}

	create := sub("create", "Make a backup", func(ctx context.Context, b *backup.Backup) (string, error) {
		m, err := b.Create(ctx, name, reason, keep...)
		if err != nil {
			return "", err
		}
		return m.Message(name)
	})
	create.Flags().StringVar(&reason, "reason", "", "why it is made")
	create.Flags().BoolVar(&fresh, "fresh", false, "also where the backup of an earlier attempt would do")
	create.Flags().StringArrayVar(&keep, "keep", nil, "another backup that must stay; may be given again")
	scheduled := sub("scheduled", "Make the backup of a schedule, unless an upgrade or a restore is at work",
		func(ctx context.Context, b *backup.Backup) (string, error) {
			m, err := b.CreateScheduled(ctx, job)
			if err != nil {
				return "", err
			}
			return m.Summary(), nil
		})
	scheduled.Flags().StringVar(&job, "job", "", "name of the Job, of which several pods make one backup")
	requireFlags(scheduled, "job")
	check := sub("check", "Prove that a backup can be restored", func(ctx context.Context, b *backup.Backup) (string, error) {
		m, err := b.Check(ctx, name, newer)
		return m.Summary(), err
	})
	restore := sub("restore", "Bring the databases back to a backup", func(ctx context.Context, b *backup.Backup) (string, error) {
		return b.Restore(ctx, name, newer)
	})
	for _, c := range []*cobra.Command{check, restore} {
		c.Flags().BoolVar(&newer, "allow-newer-schema", false, "also one of a newer release")
		c.Flags().BoolVar(&otherKey, "allow-other-key", false,
			"also one whose credentials are encrypted with another key than the installation's")
	}
	remove := sub("delete", "Delete a backup", func(ctx context.Context, b *backup.Backup) (string, error) {
		return "backup " + name + " is deleted", b.Delete(ctx, name)
	})
	drill := sub("drill", "Restore a backup into an empty, throw-away database and say whether it is good",
		func(ctx context.Context, b *backup.Backup) (string, error) {
			result, err := b.Drill(ctx, name)
			if err != nil {
				return "", err
			}
			return result.Message()
		})
	for _, c := range []*cobra.Command{create, check, restore, drill, remove} {
		c.Flags().StringVar(&name, "name", "", "name of the backup")
		requireFlags(c, "name")
	}
	list := sub("list", "Tell what backups there are, as JSON in the termination message", func(_ context.Context, b *backup.Backup) (string, error) {
		found, damaged, err := b.List()
		if err != nil {
			return "", err
		}
		return backup.Message(found, damaged)
	})
	hold, send, receive := newHoldCommand(sub), newSendCommand(sub, &name), newReceiveCommand(sub, &name)
	cmd.AddCommand(create, scheduled, list, check, restore, drill, remove, hold, send, receive)
	return cmd
}
