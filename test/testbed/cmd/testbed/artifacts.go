package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/test/publishedchart"
	"github.com/neutree-ai/packaging/test/testbed/internal/cluster"
	"github.com/neutree-ai/packaging/test/testbed/internal/cnpgchart"
	"github.com/neutree-ai/packaging/test/testbed/internal/released"
	"github.com/neutree-ai/packaging/test/testbed/internal/source"
	"github.com/neutree-ai/packaging/test/testbed/internal/tools"
)

func newBuild() *cobra.Command {
	versions := cluster.Versions()[:1]
	var set *string
	command := &cobra.Command{
		Use:   "build",
		Short: "Build every tool and image that is not in the cache yet",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			t, err := newTestbedFor(command, *set)
			if err != nil {
				return err
			}
			return t.Build(command.Context(), versions)
		},
	}
	command.Flags().StringSliceVar(&versions, "kubernetes", versions, fmt.Sprintf("Kubernetes versions, of %v", cluster.Versions()))
	set = addFor(command)
	return command
}

func newTool() *cobra.Command {
	var onPath bool
	command := &cobra.Command{
		Use:   "tool NAME",
		Short: "Print the path of a tool, such as helm-3, helm-4 or kubectl; build it when needed",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			t, err := newTestbed(command)
			if err != nil {
				return err
			}
			find := t.Tool
			if onPath {
				find = t.ToolOnPath
			}
			path, err := find(command.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), path)
			return nil
		},
	}
	command.Flags().BoolVar(&onPath, "path", false,
		"build none where PATH has one that is new enough: for helm-3 any helm from "+tools.OldestHelm+
			", for kubectl one that fits the cluster of KUBECONFIG")
	return command
}

func newChart() *cobra.Command {
	chart, out, revision := "charts/neutree", "", ""
	command := &cobra.Command{
		Use:   "chart --out DIR",
		Short: "Copy the umbrella chart with its CloudNativePG dependency in place",
		Long: `Copy the umbrella chart with its CloudNativePG dependency in place: the published chart, if
` + publishedchart.Variable + ` names its archive or folder or is "` + publishedchart.Download + `", else one that is composed from the operator's
Go module.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if out == "" {
				return errors.New("say where to write the chart: --out DIR")
			}
			if revision != "" {
				files, err := sourceOf(command.Context(), revision)
				if err != nil {
					return err
				}
				chart = filepath.Join(files, chart)
			}
			published, err := findPublished(command.Context(), chart)
			if err != nil && !errors.Is(err, publishedchart.ErrNotAvailable) {
				return err
			}
			return cnpgchart.Umbrella(command.Context(), chart, out, published)
		},
	}
	command.Flags().StringVar(&chart, "chart", chart, "the umbrella chart")
	command.Flags().StringVar(&out, "out", out, "where to write the copy")
	command.Flags().StringVar(&revision, "revision", revision,
		"take the chart of a released version, such as "+released.Version+", or of a revision in this checkout's history")
	return command
}

// sourceOf is a folder with the files of a revision of this checkout.
func sourceOf(ctx context.Context, revision string) (string, error) {
	root, err := source.Root()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	return released.Source(ctx, root, cache, revision)
}

func newPublishedChart() *cobra.Command {
	chart := "charts/neutree"
	command := &cobra.Command{
		Use:   "published-chart",
		Short: "Print the path of the published CloudNativePG chart, or nothing if it is not available",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			path, err := findPublished(command.Context(), chart)
			if errors.Is(err, publishedchart.ErrNotAvailable) {
				fmt.Fprintln(command.ErrOrStderr(), err)
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), path)
			return nil
		},
	}
	command.Flags().StringVar(&chart, "chart", chart, "the umbrella chart, which says the version and the repository")
	return command
}

// findPublished finds the published CloudNativePG chart. A download stays in the testbed's cache.
func findPublished(ctx context.Context, chart string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "charts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return publishedchart.Find(ctx, chart, dir)
}

func newPush() *cobra.Command {
	var set *string
	command := &cobra.Command{
		Use:   "push [IMAGE-TAR REF]",
		Short: "Make the cluster's registry serve the images as built from this tree, or a given one",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return errors.New("give both an image archive and the reference it is to have, or neither")
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error {
			t, err := newTestbedFor(command, *set)
			if err != nil {
				return err
			}
			if len(args) == 2 {
				return t.PushArchive(command.Context(), args[0], args[1])
			}
			return t.Push(command.Context())
		},
	}
	set = addFor(command)
	return command
}
