package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"helm.sh/helm/v3/pkg/cli/values"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/load"
	"github.com/neutree-ai/packaging/internal/rbac"
)

const rbacHelp = `Print the least roles that can install, upgrade, roll back and uninstall a release.

They are derived from the chart as it would be rendered: what Helm does with each object, what its templates look up, and what
the roles in it grant, since Kubernetes lets nobody grant what they do not hold. They suffice for Helm 3 and Helm 4, with --wait.

The output makes the namespaces too, so that the installer needs no right to make any: install without --create-namespace.
Each other set of values may take other rights: print them anew.

NAME and CHART are those of "helm neutree preflight".`

const rbacExample = `  # Let the ServiceAccount of a pipeline install
  helm neutree rbac neutree ./charts/neutree -n nap -f values.yaml --subject serviceaccount:ci:deployer | kubectl apply -f -`

func newRBACCommand(settings *helmenv.Settings) *cobra.Command {
	var options values.Options
	var chartVersion string
	var subjects []string
	cmd := &cobra.Command{
		Use:               "rbac [NAME] [CHART]",
		Short:             "Print the least roles that can install a release",
		Long:              rbacHelp,
		Example:           rbacExample,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeChart,
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeRoles(cmd, settings, args, options, chartVersion, subjects)
		},
	}
	addValueFlags(cmd.Flags(), &options, &chartVersion)
	cmd.Flags().StringArrayVar(&subjects, "subject", nil, "who gets the roles: user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME; can be repeated")
	return cmd
}

func writeRoles(cmd *cobra.Command, settings *helmenv.Settings, args []string, options values.Options, chartVersion string, subjects []string) error {
	var bound []rbacv1.Subject
	for _, text := range subjects {
		subject, err := rbac.ParseSubject(text)
		if err != nil {
			return err
		}
		bound = append(bound, subject)
	}
	subject, err := readSubject(cmd.Context(), settings, args, options, chartVersion)
	if err != nil {
		return err
	}
	mapper, err := subject.Cluster.Mapper(cmd.Context())
	if err != nil {
		return err
	}
	needs, err := rbac.Needs(subject.Requirements, nil, mapper)
	if err != nil {
		return fmt.Errorf("derive the rights from the chart: %w", err)
	}
	return rbac.Write(cmd.OutOrStdout(), subject.Requirements, needs, rbac.Options{Subjects: bound})
}

// readSubject reads the cluster and the chart, and starts nothing.
func readSubject(ctx context.Context, settings *helmenv.Settings, args []string, options values.Options, chartVersion string) (*preflight.Subject, error) {
	config, err := settings.Connect()
	if err != nil {
		return nil, err
	}
	release, path, remove, err := locate(ctx, args, chartVersion)
	if err != nil {
		return nil, err
	}
	defer remove()
	return load.Subject(ctx, load.Options{
		Config: config, Release: release, Chart: path, Namespace: settings.Namespace(), Values: options, Checks: preflight.Options{NoPods: true},
	})
}
