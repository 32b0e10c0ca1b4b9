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
	var set, source string
	var urls []string
	cmd := &cobra.Command{
		Use:   "wait {--set HASH | --source NAME} [--http URL]...",
		Short: "Wait until migrations are applied, then until services answer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				wait, what := migrate.WaitForSet, set
				if source != "" {
					wait, what = migrate.WaitForSource, source
				}
				if err := wait(ctx, log, os.Getenv("DATABASE_URL"), what); err != nil {
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
	cmd.Flags().StringVar(&set, "set", "", "hash of the set that must be applied")
	cmd.Flags().StringVar(&source, "source", "", "source of which any set must be applied")
	cmd.Flags().StringArrayVar(&urls, "http", nil, "URL that must answer with a status below 400; may be given again")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if (set == "") == (source == "") {
			return hook.Errorf(hook.Usage, "--set or --source must be given, and not both")
		}
		return nil
	}
	return cmd
}
