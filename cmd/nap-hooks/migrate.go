package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/revision"
)

func newMigrateCommand(o *hook.Options) *cobra.Command {
	var path, output, pending string
	var dryRun, unlessPending bool
	cmd := &cobra.Command{
		Use:   "migrate --spec FILE",
		Short: "Bring the database to the schema that the services expect",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := hook.ReadSpec[hook.MigrateSpec](path)
			if err != nil {
				return err
			}
			if output != "table" && output != "json" {
				return hook.Errorf(hook.Usage, "--output must be table or json, not %q", output)
			}
			return o.Run(cmd.Context(), cmd.ErrOrStderr(), func(ctx context.Context, log *slog.Logger) error {
				rev, err := pendingRevision(log, pending)
				if err != nil {
					return err
				}
				m := migrate.Migrator{
					URL: os.Getenv("DATABASE_URL"), CredentialKey: os.Getenv("CREDENTIAL_ENCRYPTION_KEY"), Log: log,
					UnlessPending: unlessPending, RefuseAhead: spec.RefuseAhead, StillPending: rev.Check,
				}
				if dryRun {
					plan, err := m.Plan(ctx, spec.Migrations)
					if err != nil {
						return err
					}
					return writePlan(cmd.OutOrStdout(), output, plan)
				}
				ctx, stop := rev.While(ctx)
				defer stop()
				result, err := m.Apply(ctx, spec.Set, spec.Migrations)
				if err == nil {
					log.Info(result.String())
					o.SetResult("%s", result)
				}
				return revision.Cause(ctx, err)
			})
		},
	}
	specFlag(cmd, &path)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&unlessPending, "unless-pending", false, "where there is something to apply, change nothing and end with 13")
	cmd.Flags().StringVar(&pending, "while-pending", "",
		"commit nothing once Helm has given up this revision: NAMESPACE/RELEASE/NUMBER")
	cmd.Flags().StringVar(&output, "output", "table", "form of the plan: table or json")
	return cmd
}

// pendingRevision is the revision that text names, nil for none: then the cluster need not be reached.
func pendingRevision(log *slog.Logger, text string) (*revision.Revision, error) {
	if text == "" {
		return nil, nil
	}
	client, err := kube.New()
	if err != nil {
		return nil, err
	}
	return revision.Parse(log, client, text)
}

func writePlan(w io.Writer, form string, plan migrate.Plan) error {
	if form == "json" {
		return plan.WriteJSON(w)
	}
	return plan.WriteTable(w)
}
