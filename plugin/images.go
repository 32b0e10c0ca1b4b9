package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"helm.sh/helm/v3/pkg/cli/values"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/images"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// rendered says what would be installed, for commands that ask no cluster.
type rendered struct {
	settings     *helmenv.Settings
	values       values.Options
	chartVersion string
	kubernetes   string
	all          bool
}

func (r *rendered) addFlags(f *pflag.FlagSet) {
	addValueFlags(f, &r.values, &r.chartVersion)
	f.StringVar(&r.kubernetes, "kube-version", images.DefaultKubernetes, "version of Kubernetes to render for")
	f.BoolVar(&r.all, "all", false, "with every module on, whatever the values say")
}

// list renders the chart and lists what an installation would pull.
func (r *rendered) list(ctx context.Context, args []string) (*images.List, error) {
	release, path, remove, err := locate(ctx, append([]string{"neutree"}, args...), r.chartVersion)
	if err != nil {
		return nil, err
	}
	defer remove()
	given := r.values
	if r.all {
		given = images.EveryModule(given)
	}
	set, err := requirement.Load(requirement.Options{
		Chart: path, Release: release, Namespace: r.settings.Namespace(), Values: given,
		Kubernetes: chart.Kubernetes{Version: r.kubernetes},
	})
	if err != nil {
		return nil, err
	}
	return images.Of(set)
}

func newImagesCommand(settings *helmenv.Settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List the images of a release, lock them to digests, mirror and verify them",
		Example: `  helm neutree images list
  helm neutree images lock -o images.lock.yaml`,
	}
	cmd.AddCommand(newImagesListCommand(settings), newImagesLockCommand(settings), newImagesMirrorCommand(),
		newImagesVerifyCommand(settings))
	return cmd
}

const imagesListHelp = `List the images that an installation pulls, each once, with its full name.

The list has the images of the release's pods and Jobs, and those that are pulled at run time: by CloudNativePG for the
database, by the env runner for workspaces, by OpenSandbox for sandboxes and browsers. OpenSandbox itself is installed
by other means, and its own images are not listed.

The chart is rendered for the values given, without a cluster. CHART is a directory, an archive, REPOSITORY/CHART or an
oci:// address; by default the chart that came with the plugin.

Formats:
  text     one image a line
  wide     a table: what pulls each image, when, for what, and the chart value that names it
  json     the same for programs
  crane    commands of crane that copy the images to the registry that --to names
  skopeo   a file for skopeo sync, with the source yaml
  hauler   a manifest for hauler store sync`

const imagesListExample = `  helm neutree images list
  helm neutree images list ./charts/neutree -f values.yaml -o wide
  helm neutree images list --all -o skopeo
  helm neutree images list -o crane --to registry.example.com
  helm neutree images list --why pause --all`

func newImagesListCommand(settings *helmenv.Settings) *cobra.Command {
	from := &rendered{settings: settings}
	format := images.Format{}
	why := ""
	cmd := &cobra.Command{
		Use:               "list [CHART]",
		Short:             "List the images that an installation pulls",
		Long:              imagesListHelp,
		Example:           imagesListExample,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			list, err := from.list(cmd.Context(), args)
			if err != nil {
				return err
			}
			if why != "" {
				if list.Images = list.Why(why); len(list.Images) == 0 {
					return fmt.Errorf("no image that is pulled with these values contains %q in its name: "+
						"leave out --why to see all, or add --all for every module", why)
				}
				if !cmd.Flags().Changed("output") {
					format.Name = "wide"
				}
			}
			return list.Write(cmd.OutOrStdout(), format)
		},
	}
	from.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&format.Name, "output", "o", "text", "text, wide, json, crane, skopeo or hauler")
	cmd.Flags().StringVar(&format.To, "to", "", "registry that the commands of --output crane copy to")
	cmd.Flags().StringVar(&why, "why", "", "only images with this text in their name, with what pulls them")
	_ = cmd.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions(images.Formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
