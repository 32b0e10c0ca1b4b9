package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

func newProbeCommand(o *hook.Options) *cobra.Command {
	var tasks string
	cmd := &cobra.Command{
		Use:   "probe --tasks JSON",
		Short: "Prove things from where this pod runs, and report them in the termination message",
		Long: `Prove things from where this pod runs, and report them in the termination message.

The probe pods of "helm neutree preflight" run this. It ends with 0 when it could report, whatever it found.`,
		Example: `  nap-hooks probe --tasks '[{"id":"model","reach":{"url":"https://api.example.com"}}]'`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := agent.ReadTasks(tasks)
			if err != nil {
				return hook.Errorf(hook.Usage, "--tasks: %w", err)
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, _ *slog.Logger) error {
				report, err := agent.Run(ctx, list).Encode()
				if err == nil {
					o.SetResult("%s", report)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&tasks, "tasks", "", "what to prove, as JSON")
	requireFlags(cmd, "tasks")
	return cmd
}
