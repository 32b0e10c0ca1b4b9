package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/images"
	"github.com/neutree-ai/packaging/internal/plain"
)

const imagesLockHelp = `Ask registries for the digests of all images that an installation pulls, and write them to a lock file.

The images are those of "helm neutree images list" with the same flags. A lock is a YAML file: the chart's name and
version, and for each image its name, the values that name it, the digest of its index, and for each platform the digest
of the manifest and the bytes to pull.

With --values-only chart values are written instead, which pin each image to its digest, the operator's included. With
--lock as well, the digests are those of an existing lock, and no registry is asked. The images of the agents can't be
pinned: the three of them have one tag.

Credentials are those that docker login has stored, unless --auth-file names a file. Proxies are those of HTTPS_PROXY
and NO_PROXY.

Exit codes: 0 everything was found; 2 a registry could not be asked, or an image is missing, is not for a platform, or
is not in the lock; 124 --timeout ended first; 1 anything else. Unless it is 0, nothing is written.`

const imagesLockExample = `  helm neutree images lock ./charts/neutree -f values.yaml -o images.lock.yaml
  helm neutree images lock --all --platform linux/amd64,linux/arm64 -o images.lock.yaml
  helm neutree images lock --lock images.lock.yaml --values-only -o digests.yaml`

// accessFlags say how registries are reached.
type accessFlags struct {
	images.Access
	jobs    int
	timeout time.Duration
}

func (a *accessFlags) add(f *pflag.FlagSet) {
	f.StringVar(&a.AuthFile, "auth-file", "",
		"file with credentials, as docker's config.json; default: what docker login stored")
	f.StringVar(&a.CAFile, "ca-file", "", "file with CA certificates to trust besides the system's")
	f.StringSliceVar(&a.PlainHTTP, "plain-http", nil, "HOST:PORT of a registry that is asked by HTTP; can be repeated")
	f.IntVar(&a.jobs, "jobs", 4, "how many images are worked on at a time")
	f.DurationVar(&a.timeout, "timeout", 10*time.Minute, "give up after this long")
}

// lockFlags are those of images lock.
type lockFlags struct {
	accessFlags
	platforms  []string
	output     string
	lock       string
	valuesOnly bool
}

func newImagesLockCommand(settings *helmenv.Settings) *cobra.Command {
	from, flags := &rendered{settings: settings}, &lockFlags{}
	cmd := &cobra.Command{
		Use:               "lock [CHART]",
		Short:             "Write the digests of all images to a lock file",
		Long:              imagesLockHelp,
		Example:           imagesLockExample,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), flags.timeout)
			defer cancel()
			return hook.Stopped(ctx, lockImages(ctx, cmd, from, args, flags))
		},
	}
	from.addFlags(cmd.Flags())
	flags.add(cmd.Flags())
	cmd.Flags().StringSliceVar(&flags.platforms, "platform", []string{"linux/amd64"},
		"platforms of the nodes, OS/ARCHITECTURE")
	cmd.Flags().StringVarP(&flags.output, "output", "o", "", "file to write; default: standard output")
	cmd.Flags().StringVar(&flags.lock, "lock", "", "with --values-only: take the digests from this lock file")
	cmd.Flags().BoolVar(&flags.valuesOnly, "values-only", false, "write chart values that pin each image to its digest")
	return cmd
}

func lockImages(ctx context.Context, cmd *cobra.Command, from *rendered, args []string, flags *lockFlags) error {
	if flags.lock != "" && !flags.valuesOnly {
		return fmt.Errorf("--lock is for --values-only alone: leave it out to write a lock")
	}
	list, err := from.list(ctx, args)
	if err != nil {
		return err
	}
	lock, err := findDigests(ctx, list, flags)
	if err != nil {
		return err
	}
	var content bytes.Buffer
	if !flags.valuesOnly {
		if err := lock.Write(&content); err != nil {
			return err
		}
	} else {
		unpinned, err := lock.WriteValues(&content)
		if err != nil {
			return err
		}
		for _, image := range unpinned {
			fmt.Fprintf(cmd.ErrOrStderr(), "Warning: no value can pin %s\n", plain.Text(image))
		}
	}
	return writeOutput(cmd, flags.output, content.Bytes())
}

// writeOutput writes to a file, or to standard output if it has no name.
func writeOutput(cmd *cobra.Command, file string, content []byte) error {
	if file == "" {
		_, err := cmd.OutOrStdout().Write(content)
		return err
	}
	return os.WriteFile(file, content, 0o644)
}

// findDigests reads a lock, or asks registries.
func findDigests(ctx context.Context, list *images.List, flags *lockFlags) (*images.Lock, error) {
	if flags.lock != "" {
		lock, err := images.ReadLock(flags.lock)
		if err != nil {
			return nil, err
		}
		return lock, lock.Fits(list)
	}
	registries, err := flags.Open()
	if err != nil {
		return nil, err
	}
	return images.Resolver{Registries: registries, Platforms: flags.platforms, Jobs: flags.jobs}.Lock(ctx, list)
}
