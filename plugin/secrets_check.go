package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/report"
	"github.com/neutree-ai/packaging/internal/secretcheck"
	"github.com/neutree-ai/packaging/internal/secretplan"
	"github.com/neutree-ai/packaging/internal/version"
)

const checkHelp = `Find keys that are short, placeholders, shared or leaked, or not in use yet.

Reads the Secrets of the release, the records in which Helm keeps its history, and the Deployments, and changes
nothing. A value of fewer than 12 characters is not searched for in the history.

The caller needs to get Secrets, ConfigMaps and Deployments, and to list Secrets and ConfigMaps, in the release's namespace.

Exit codes: 0 nothing found, or warnings; 1 failed, or something could not be checked; 2 errors found; 124 out of time.`

func newSecretsCheckCommand(o *secretsOptions) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "check",
		Short:   "Find keys that are short, placeholders, shared or leaked, or not in use yet",
		Long:    checkHelp,
		Example: "  helm neutree secrets check -n nap\n  helm neutree secrets check -n nap -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output must be text or json, not %q", output)
			}
			return o.run(cmd.Context(), func(ctx context.Context, client *kube.Client, plan secretplan.Plan) error {
				return checkSecrets(ctx, cmd, o, client, plan, output)
			})
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	_ = cmd.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions([]cobra.Completion{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func checkSecrets(
	ctx context.Context, cmd *cobra.Command, o *secretsOptions, client *kube.Client, plan secretplan.Plan, output string,
) error {
	namespace := o.settings.Namespace()
	checker, err := secretcheck.New(ctx, progress.New(cmd.ErrOrStderr()), client, namespace, plan)
	if err != nil {
		return err
	}
	about := report.Subject{
		Title: "Secrets check", Release: plan.Release, Namespace: namespace, Chart: plan.Chart,
		Tool: version.Get().Version, Docs: strings.Replace(report.Docs, "preflight.md", "findings.md", 1),
	}
	if server, err := client.Version(ctx); err == nil {
		about.Kubernetes = server.GitVersion
	}
	screen := report.NewScreen(cmd.OutOrStdout(), cmd.ErrOrStderr())
	result, err := report.New(output, screen.Results, about, screen.Look)
	if err != nil {
		return err
	}
	subject := &preflight.Subject{Options: preflight.Options{CheckTimeout: o.timeout}, Hide: checker.Hide()}
	summary := preflight.Run(ctx, subject, checker.Checks(), report.Tee(screen.Progress, result))
	if err := result.Err(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if code := summary.ExitCode(false); code != 0 {
		return exitCode(code)
	}
	return nil
}
