package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/backupfile"
	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/restorefrom"
)

func newBackupPushCommand(o *backupOptions) *cobra.Command {
	from := &fromFlags{}
	cmd := &cobra.Command{
		Use:   "push PATH|NAME",
		Short: "Copy a backup from this machine, or from outside the cluster, to the release and print its name",
		Long: `Copy a backup from this machine, or from outside the cluster, to the release and print its name.

PATH is what helm neutree backup pull has written: a folder, or a file that --identity decrypts. With --from the backup
is the copy called NAME outside the cluster. The backup appears in the list once it is whole, its checksums are right
and pg_restore reads it. It counts as made by hand. Nothing is restored.

The caller needs to create and delete Jobs, to list pods, and to get and create pods/exec in the release's namespace.

Exit codes: 0 done, 1 failed, 2 refused, 124 out of time.`,
		Example: `  helm neutree backup push ./20261123-141500 -n nap
  helm neutree backup push 20261123-141500.tar.age -n nap --identity key.txt
  helm neutree backup push latest -n nap --from ./backups --identity key.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source := o.release
			if from.From != "" {
				// The copy may be of a release of the same name in another namespace: --release NAMESPACE.NAME.
				if _, name, has := strings.Cut(o.release, "."); has {
					o.release = name
				}
			} else if err := needFrom(cmd.Flags()); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger, r *backupjob.Runner) error {
				name, write, err := from.source(ctx, log, cmd.InOrStdin(), source, args[0])
				if err != nil {
					return err
				}
				exec, err := o.exec()
				if err != nil {
					return err
				}
				if _, err := r.Push(ctx, exec, name, write); err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), name)
				return err
			})
		},
	}
	from.add(cmd.Flags(), true)
	return cmd
}

// source is what is pushed: the name of the backup, and what writes it as a tar.
func (f *fromFlags) source(ctx context.Context, log *slog.Logger, in io.Reader, release, path string) (
	name string, write func(io.Writer) error, err error) {
	if f.From != "" {
		opened, err := f.unlock(ctx, log, in, release, path)
		if err != nil {
			return "", nil, err
		}
		return opened.Metadata.Name, func(w io.Writer) error { return restorefrom.WriteTar(ctx, w, opened) }, nil
	}
	if !strings.HasSuffix(path, backupfile.Extension) {
		folder, err := backup.OpenFolder(path)
		return folder.Name, folder.WriteTar, err
	}
	if f.identity == "" {
		return "", nil, hook.Errorf(hook.Usage,
			"%s is encrypted: name the file with the private key of age with --identity", path)
	}
	identities, err := f.identities(in)
	if err != nil {
		return "", nil, err
	}
	file, err := backupfile.Open(ctx, path, identities)
	if err != nil {
		return "", nil, err
	}
	return file.Name, file.WriteTar, nil
}
