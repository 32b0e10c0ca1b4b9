package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/plain"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/rotate"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

const rotateHelp = `Give a key a new random value and restart the services that read it.

Writes the new value into the Secret, derives again what follows from it, restarts the services that read it and no
others, and waits until their new pods are ready. A run that was killed is finished by the next one, which makes no
other value.

For credential-key the services that read the key stand still until a Job has encrypted what users have stored with the
new one, in one transaction. For admin a Job sets the password in the database.

A Secret that you named in the chart's values is never written: the command says what to put in and ends with 2. Run
it again once that is done.

Names, and what users notice:
%s
Exit codes: 0 rotated; 1 failed, the same command finishes it; 2 refused, or not confirmed; 3 services stay stopped
until the same command has finished it; 124 out of time.`

func newSecretsRotateCommand(o *secretsOptions) *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a key a new random value and restart the services that read it",
		Long:  fmt.Sprintf(rotateHelp, rotations()),
		Example: `  # What would be written and restarted, and what users notice
  helm neutree secrets rotate jwt -n nap --dry-run

  helm neutree secrets rotate jwt -n nap
  helm neutree secrets rotate service-key -n nap --yes
  helm neutree secrets rotate credential-key -n nap --dry-run`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(rotate.Names(), args[0]) {
				return hook.Errorf(hook.Usage, "name what to rotate: one of %s", strings.Join(rotate.Names(), ", "))
			}
			return nil
		},
		ValidArgs: completions(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), func(ctx context.Context, client *kube.Client, plan secretplan.Plan) error {
				talk := plain.Writer(cmd.ErrOrStderr())
				log := progress.New(cmd.ErrOrStderr())
				rotation := rotate.Rotation{Log: log, Client: client, Namespace: o.settings.Namespace(), Plan: plan,
					Name: args[0], DryRun: dryRun}
				intent, err := rotation.Intend(ctx)
				if err != nil {
					return err
				}
				if dryRun {
					return intent.Write(plain.Writer(cmd.OutOrStdout()))
				}
				if err := intent.Write(talk); err != nil {
					return err
				}
				if !yes {
					if err := ask(cmd.InOrStdin(), talk, fmt.Sprintf("Rotate %s of release %s?", args[0], plan.Release)); err != nil {
						return err
					}
				}
				done, err := rotation.Run(ctx)
				if err != nil {
					return err
				}
				log.Info(done)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be written and restarted, and change nothing")
	return cmd
}

// rotations is a table of all of them.
func rotations() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, kind := range rotate.Kinds() {
		fmt.Fprintf(table, "  %s\t%s\n", kind.Name, kind.Notice)
	}
	_ = table.Flush()
	return b.String()
}

func completions() []cobra.Completion {
	var offers []cobra.Completion
	for _, kind := range rotate.Kinds() {
		offers = append(offers, cobra.CompletionWithDesc(kind.Name, kind.Notice))
	}
	return offers
}
