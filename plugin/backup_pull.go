package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/backupfile"
	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/podexec"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/restorefrom"
)

// pullFlags are the command's own.
type pullFlags struct {
	fromFlags
	recipients []string
	plain      bool
}

func newBackupPullCommand(o *backupOptions) *cobra.Command {
	flags := &pullFlags{}
	cmd := &cobra.Command{
		Use:   "pull NAME DIR",
		Short: "Copy a backup to a folder on this machine and print where it is",
		Long: `Copy a backup to a folder on this machine and print where it is.

A backup contains the rows of the databases, keys of model providers among them. With --recipient it is encrypted with
age while it is copied, as DIR/NAME.tar.age; age -d -i KEY NAME.tar.age | tar x takes it apart. With --plain it is the
folder DIR/NAME, which only you may read. With --from it is a copy outside the cluster that is decrypted, and no
cluster is needed.

The caller needs to create and delete Jobs, to list pods, and to get and create pods/exec in the release's namespace.

Exit codes: 0 done, 1 failed, 2 refused, 124 out of time.`,
		Example: `  helm neutree backup pull 20261123-141500 . -n nap --recipient age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg
  helm neutree backup pull latest ./restored --from ./backups --identity key.txt --plain`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return flags.run(cmd, o, args[0], args[1]) },
	}
	flags.add(cmd.Flags(), true)
	cmd.Flags().StringArrayVar(&flags.recipients, "recipient", nil, "public key of age to encrypt for; can be repeated")
	cmd.Flags().BoolVar(&flags.plain, "plain", false, "do not encrypt")
	return cmd
}

func (f *pullFlags) run(cmd *cobra.Command, o *backupOptions, name, dir string) error {
	if f.plain == (len(f.recipients) > 0) {
		return hook.Errorf(hook.Usage,
			"give either --recipient with a public key of age, or --plain: a backup contains what users have stored")
	}
	recipients, err := offsite.ParseRecipients(f.recipients)
	if err != nil {
		return err
	}
	if f.From != "" {
		log := progress.New(cmd.ErrOrStderr())
		return o.outside(cmd.Context(), func(ctx context.Context) error {
			opened, err := f.unlock(ctx, log, cmd.InOrStdin(), o.release, name)
			if err != nil {
				return err
			}
			reader, writer := io.Pipe()
			go func() { _ = writer.CloseWithError(restorefrom.WriteTar(ctx, writer, opened)) }()
			defer reader.Close() //nolint:errcheck // It ends the other side.
			return store(ctx, cmd.OutOrStdout(), reader, dir, opened.Metadata.Name, recipients)
		})
	}
	if err := needFrom(cmd.Flags(), "identity"); err != nil {
		return err
	}
	return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, _ *slog.Logger, r *backupjob.Runner) error {
		exec, err := o.exec()
		if err != nil {
			return err
		}
		return r.Pull(ctx, exec, name, func(tar io.Reader) error {
			return store(ctx, cmd.OutOrStdout(), tar, dir, name, recipients)
		})
	})
}

// store writes what arrives, encrypted if there are recipients, and prints where.
func store(ctx context.Context, w io.Writer, tar io.Reader, dir, name string, recipients []age.Recipient) error {
	path := ""
	if len(recipients) > 0 {
		var err error
		if path, err = backupfile.Write(ctx, tar, dir, name, recipients); err != nil {
			return err
		}
	} else {
		folder, err := backup.PullFolder(ctx, tar, dir)
		if err != nil {
			return err
		}
		path = folder.Dir
	}
	_, err := fmt.Fprintln(w, path)
	return err
}

// exec runs commands in pods of the cluster.
func (o *backupOptions) exec() (*podexec.Client, error) {
	config, err := o.settings.Connect()
	if err != nil {
		return nil, err
	}
	return podexec.New(config), nil
}
