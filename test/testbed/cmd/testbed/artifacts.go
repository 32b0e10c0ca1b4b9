package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/test/testbed/internal/cluster"
	"github.com/neutree-ai/packaging/test/testbed/internal/cnpgchart"
	"github.com/neutree-ai/packaging/test/testbed/internal/released"
	"github.com/neutree-ai/packaging/test/testbed/internal/source"
)

func newBuild() *cobra.Command {
	versions := cluster.Versions()[:1]
	command := &cobra.Command{
		Use:   "build",
		Short: "Build every tool and image that is not in the cache yet",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			t, err := newTestbed()
			if err != nil {
				return err
			}
			return t.Build(command.Context(), versions)
		},
	}
	command.Flags().StringSliceVar(&versions, "kubernetes", versions, fmt.Sprintf("Kubernetes versions, of %v", cluster.Versions()))
	return command
}

func newTool() *cobra.Command {
	return &cobra.Command{
		Use:   "tool NAME",
		Short: "Print the path of a tool, such as helm-3, helm-4 or kubectl; build it when needed",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			t, err := newTestbed()
			if err != nil {
				return err
			}
			path, err := t.Tool(command.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), path)
			return nil
		},
	}
}

func newChart() *cobra.Command {
	chart, out, revision := "charts/neutree", "", ""
	command := &cobra.Command{
		Use:   "chart --out DIR",
		Short: "Copy the umbrella chart with its CloudNativePG dependency in place",
		Args:  cobra.NoArgs,
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
			return cnpgchart.Umbrella(command.Context(), chart, out)
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

func newPush() *cobra.Command {
	return &cobra.Command{
		Use:   "push [IMAGE-TAR REF]",
		Short: "Make the cluster's registry serve the images as built from this tree, or a given one",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return errors.New("give both an image archive and the reference it is to have, or neither")
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error {
			t, err := newTestbed()
			if err != nil {
				return err
			}
			if len(args) == 2 {
				return t.PushArchive(command.Context(), args[0], args[1])
			}
			return t.Push(command.Context())
		},
	}
}
