package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/backup"
)

// subcommand makes a subcommand of backup whose result is one sentence.
type subcommand func(use, short string, do func(context.Context, *backup.Backup) (string, error)) *cobra.Command

func newHoldCommand(sub subcommand) *cobra.Command {
	var patience time.Duration
	cmd := sub("hold", "Keep the pod for commands that send or receive backups, until there was none for a while",
		func(ctx context.Context, _ *backup.Backup) (string, error) { return "", backup.Hold(ctx, patience) })
	cmd.Flags().DurationVar(&patience, "patience", 2*time.Minute, "how long to stay without such a command")
	return cmd
}

func newSendCommand(sub subcommand, name *string) *cobra.Command {
	var cmd *cobra.Command
	cmd = sub("send", "Write a backup to standard output as a tar",
		func(ctx context.Context, b *backup.Backup) (string, error) {
			leave, err := backup.Join(ctx)
			if err != nil {
				return "", err
			}
			defer leave() //nolint:errcheck // The process ends.
			_, err = b.Send(ctx, *name, cmd.OutOrStdout())
			return "backup " + *name + " is sent", err
		})
	return named(cmd, name)
}

func newReceiveCommand(sub subcommand, name *string) *cobra.Command {
	var cmd *cobra.Command
	cmd = sub("receive", "Store a backup that arrives on standard input as a tar",
		func(ctx context.Context, b *backup.Backup) (string, error) {
			leave, err := backup.Join(ctx)
			if err != nil {
				return "", err
			}
			defer leave() //nolint:errcheck // The process ends.
			m, err := b.Receive(ctx, *name, cmd.InOrStdin())
			return m.Summary(), err
		})
	return named(cmd, name)
}

func named(cmd *cobra.Command, name *string) *cobra.Command {
	cmd.Flags().StringVar(name, "name", "", "name of the backup")
	requireFlags(cmd, "name")
	return cmd
}
