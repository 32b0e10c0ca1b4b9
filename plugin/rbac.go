package main

import (
	"context"
	"fmt"
	"io"

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

An administrator creates the namespaces and grants the roles; the installer then installs without --create-namespace. With
other values a release may need other rights: print the roles again. Revoke them with --revoke: the namespaces, which contain the
release's data, are never part of its output.

NAME and CHART are those of "helm neutree preflight".`

const rbacExample = `  # Let the ServiceAccount of a pipeline install
  helm neutree rbac neutree ./charts/neutree -n nap -f values.yaml --namespaces | kubectl apply -f -
  helm neutree rbac neutree ./charts/neutree -n nap -f values.yaml --subject serviceaccount:ci:deployer | kubectl apply -f -

  # Revoke its rights after the install
  helm neutree rbac neutree ./charts/neutree -n nap -f values.yaml --revoke | kubectl delete --ignore-not-found -f -`

// rbacFlags are the command's own.
type rbacFlags struct {
	values       values.Options
	chartVersion string
	subjects     []string
	namespaces   bool
	revoke       bool
}

func newRBACCommand(settings *helmenv.Settings) *cobra.Command {
	flags := &rbacFlags{}
	cmd := &cobra.Command{
		Use:               "rbac [NAME] [CHART]",
		Short:             "Print the least roles that can install a release",
		Long:              rbacHelp,
		Example:           rbacExample,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeChart,
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeRoles(cmd, settings, args, flags)
		},
	}
	addValueFlags(cmd.Flags(), &flags.values, &flags.chartVersion)
	cmd.Flags().StringArrayVar(&flags.subjects, "subject", nil,
		"who gets the roles: user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME; can be repeated")
	cmd.Flags().BoolVar(&flags.namespaces, "namespaces", false,
		"print the release's namespaces instead, for kubectl apply")
	cmd.Flags().BoolVar(&flags.revoke, "revoke", false, "print what kubectl delete needs to revoke the roles instead")
	cmd.MarkFlagsMutuallyExclusive("subject", "namespaces", "revoke")
	return cmd
}

func writeRoles(cmd *cobra.Command, settings *helmenv.Settings, args []string, flags *rbacFlags) error {
	var bound []rbacv1.Subject
	for _, text := range flags.subjects {
		subject, err := rbac.ParseSubject(text)
		if err != nil {
			return err
		}
		bound = append(bound, subject)
	}
	subject, err := readSubject(cmd.Context(), settings, args, flags.values, flags.chartVersion)
	if err != nil {
		return err
	}
	if flags.namespaces {
		return rbac.WriteNamespaces(cmd.OutOrStdout(), subject.Requirements)
	}
	mapper, err := subject.Cluster.Mapper(cmd.Context())
	if err != nil {
		return err
	}
	needs, err := rbac.Needs(subject.Requirements, nil, mapper)
	if err != nil {
		return fmt.Errorf("derive the rights from the chart: %w", err)
	}
	if flags.revoke {
		return rbac.WriteRevocation(cmd.OutOrStdout(), subject.Requirements, needs)
	}
	if err := warnOfMissing(cmd.Context(), cmd.ErrOrStderr(), subject); err != nil {
		return err
	}
	return rbac.Write(cmd.OutOrStdout(), subject.Requirements, needs, rbac.Options{Subjects: bound})
}

// warnOfMissing names the namespaces without which kubectl apply refuses the roles.
func warnOfMissing(ctx context.Context, talk io.Writer, subject *preflight.Subject) error {
	for _, name := range rbac.Namespaces(subject.Requirements) {
		namespace, err := subject.Cluster.Namespace(ctx, name)
		if err != nil {
			return fmt.Errorf("look for namespace %s: %w", name, err)
		}
		if namespace == nil {
			fmt.Fprintf(talk, "Warning: namespace %s does not exist yet: "+
				"apply the output of the same command with --namespaces first, then run this again\n", name)
		}
	}
	return nil
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
