package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/account"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/rekey"
)

func newRotateCommand(o *hook.Options) *cobra.Command {
	var path, keys, mark string
	cmd := &cobra.Command{
		Use:   "rotate --spec FILE credential-key|admin",
		Short: "Bring the database to a key or a password that has changed in its Secret",
		Long: `Bring the database to a key or a password that has changed in its Secret.

The environment holds DATABASE_URL and, for admin, ADMIN_USERNAME and ADMIN_PASSWORD.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return hook.Errorf(hook.Usage, "name what has changed: credential-key or admin")
		},
	}
	cmd.PersistentFlags().StringVar(&path, "spec", "", "YAML file that says what to do")
	// sub makes a subcommand whose result is one sentence.
	type work func(context.Context, *slog.Logger, hook.RotateSpec) (string, error)
	sub := func(use, short string, do work) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.RotateSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				result, err := do(ctx, log, spec)
				if err == nil {
					log.Info(result)
					o.SetResult("%s", result)
				}
				return err
			})
		}}
	}
	credentials := sub("credential-key", "Encrypt credentials with the new key, in one transaction",
		func(ctx context.Context, log *slog.Logger, spec hook.RotateSpec) (string, error) {
			next, known, err := rekey.ReadKeys(keys, mark)
			if err != nil {
				return "", err
			}
			run := rekey.Rekey{Log: log, DatabaseURL: os.Getenv("DATABASE_URL"), New: next, Known: known,
				Key: spec.EncryptionKey}
			result, err := run.Run(ctx)
			return result.String(), err
		})
	credentials.Flags().StringVar(&keys, "keys", "", "folder with a file for each key; that of the new one is called new")
	credentials.Flags().StringVar(&mark, "keyring", "", "mark of the keys that the folder has to have")
	requireFlags(credentials, "keys")
	cmd.AddCommand(credentials, sub("admin", "Set the password of the first administrator",
		func(ctx context.Context, log *slog.Logger, spec hook.RotateSpec) (string, error) {
			password := account.Password{Log: log, DatabaseURL: os.Getenv("DATABASE_URL"), Secret: spec.Admin,
				User: os.Getenv("ADMIN_USERNAME"), Password: os.Getenv("ADMIN_PASSWORD")}
			return password.Set(ctx)
		}))
	return cmd
}
