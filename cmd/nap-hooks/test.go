package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/selftest"
)

func newTestCommand(o *hook.Options) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "test --spec FILE",
		Short: "Prove that the administrator can log in, the schema is there and every service answers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.TestSpec](path)
			if err != nil {
				return err
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, _ *slog.Logger) error {
				return selftest.Run(ctx, cmd.OutOrStdout(), spec, selftest.Credentials{
					Username: os.Getenv("ADMIN_USERNAME"), Password: os.Getenv("ADMIN_PASSWORD"), DatabaseURL: os.Getenv("DATABASE_URL"),
				})
			})
		},
	}
	specFlag(cmd, &path)
	return cmd
}
