package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/restorefrom"
)

func newBackupVerifyCommand(o *backupOptions) *cobra.Command {
	from := &fromFlags{}
	cmd := &cobra.Command{
		Use:   "verify [NAME]",
		Short: "Check that a copy outside the cluster is whole and can be decrypted",
		Long: `Check that a copy outside the cluster is whole and can be decrypted.

All of the copy is read and compared with its checksums. With --identity it is decrypted as well, in memory, and
pg_restore reads the list of the dump where that program is installed. The last lines say what was not checked.
NAME is the newest complete copy unless given. No cluster is needed.

Exit codes: 0 the copy is good as far as it was checked; 1 failed; 2 refused, or the copy is damaged; 124 out of time.`,
		Example: `  helm neutree backup verify --from ./backups --identity key.txt
  helm neutree backup verify 20261123-141500 --from ./backups`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from.From == "" {
				return hook.Errorf(hook.Usage, "--from is missing: name s3://bucket/prefix or a folder; "+
					"a backup in the cluster is checked when it is made and before it is restored")
			}
			log := progress.New(cmd.ErrOrStderr())
			return o.outside(cmd.Context(), func(ctx context.Context) error {
				identities, err := from.identities(cmd.InOrStdin())
				if err != nil {
					return err
				}
				found, err := from.copyOf(ctx, log, o.release, nameOr(args, restorefrom.Latest))
				if err != nil {
					return err
				}
				unchecked, err := restorefrom.Verify(ctx, log, found, identities)
				for _, one := range unchecked {
					log.Info("not checked: " + one)
				}
				return err
			})
		},
	}
	from.add(cmd.Flags(), true)
	return cmd
}

// nameOr is the first argument, or otherwise.
func nameOr(args []string, otherwise string) string {
	if len(args) > 0 {
		return args[0]
	}
	return otherwise
}
