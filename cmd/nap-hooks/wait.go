package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

func newWaitCommand(o *hook.Options) *cobra.Command {
	var set string
	var urls []string
	cmd := &cobra.Command{
		Use:   "wait --set HASH [--http URL]...",
		Short: "Wait until a set of migrations is applied, then until services answer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				if err := migrate.WaitForSet(ctx, log, os.Getenv("DATABASE_URL"), set); err != nil {
					return err
				}
				for _, url := range urls {
					if err := hook.WaitForURL(ctx, log, url); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&set, "set", "", "hash of the set")
	cmd.Flags().StringArrayVar(&urls, "http", nil, "URL that must answer with a status below 400; may be given again")
	requireFlags(cmd, "set")
	return cmd
}
