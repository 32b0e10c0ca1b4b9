package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

// secretsOptions are what all commands of secrets have in common.
type secretsOptions struct {
	settings *helmenv.Settings
	release  string
	timeout  time.Duration
}

func newSecretsCommand(settings *helmenv.Settings) *cobra.Command {
	o := &secretsOptions{settings: settings}
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Check, rotate and export the keys of a release",
		Long: `Check, rotate and export the keys of a release.

The keys are in Secrets in the release's namespace, which the chart's hooks made with random values, or which you
named in the chart's values. No command shows a value.`,
		Example: `  helm neutree secrets check -n nap
  helm neutree secrets rotate jwt -n nap --dry-run`,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.release, "release", "", "name of the release, where its namespace holds several")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "give up after this long")
	cmd.AddCommand(newSecretsCheckCommand(o), newSecretsExportCommand(o), newSecretsRotateCommand(o))
	return cmd
}

// run finds the release and calls do with what the chart says about its Secrets.
func (o *secretsOptions) run(ctx context.Context, do func(context.Context, *kube.Client, secretplan.Plan) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	client, err := connect(o.settings)
	if err != nil {
		return err
	}
	plan, err := secretplan.Find(ctx, client, o.settings.Namespace(), o.release)
	if err == nil {
		err = do(ctx, client, plan)
	}
	return hook.Stopped(ctx, err)
}
