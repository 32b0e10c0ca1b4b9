package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/images"
)

const imagesVerifyHelp = `Compare a cluster or registries with a lock file that "helm neutree images lock" wrote.

Without a flag the cluster is compared: the images that pods in the release's namespace and in that of its workspaces
run, by the digests that their nodes report. Any pod in these namespaces counts. An operator of CloudNativePG that has a
namespace of its own is not compared, and images that were imported into nodes can't be: nodes know no digest of them.
With --registry each locked image must be in that registry, under the same path and tag, with the same digest and the
content for all platforms of the lock.
With --sources the same is asked of the registries that the images come from: it finds tags that were changed after the lock.

Exit codes: 0 all is as locked; 2 something is missing or different, or a registry could not be asked; 124 --timeout
ended first; 1 anything else.`

const imagesVerifyExample = `  helm neutree images verify images.lock.yaml -n nap
  helm neutree images verify images.lock.yaml --registry registry.example.com
  helm neutree images verify images.lock.yaml --sources`

// verifyFlags are those of images verify.
type verifyFlags struct {
	accessFlags
	registry   string
	sources    bool
	workspaces string
}

func newImagesVerifyCommand(settings *helmenv.Settings) *cobra.Command {
	flags := &verifyFlags{}
	cmd := &cobra.Command{
		Use:     "verify LOCK",
		Short:   "Compare a cluster or registries with a lock file",
		Long:    imagesVerifyHelp,
		Example: imagesVerifyExample,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), flags.timeout)
			defer cancel()
			return hook.Stopped(ctx, verifyImages(ctx, cmd, settings, args[0], flags))
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&flags.registry, "registry", "", "HOST, or HOST/PATH, that the images were copied to")
	cmd.Flags().BoolVar(&flags.sources, "sources", false, "compare the registries that the images come from")
	cmd.Flags().StringVar(&flags.workspaces, "workspaces", "",
		"namespace of the workspaces; default: the release's with -workspaces added")
	cmd.MarkFlagsMutuallyExclusive("registry", "sources", "workspaces")
	return cmd
}

func verifyImages(
	ctx context.Context, cmd *cobra.Command, settings *helmenv.Settings, path string, flags *verifyFlags,
) error {
	lock, err := images.ReadLock(path)
	if err != nil {
		return err
	}
	talk := cmd.ErrOrStderr()
	if flags.registry == "" && !flags.sources {
		namespaces := []string{settings.Namespace(), settings.Namespace() + "-workspaces"}
		if flags.workspaces != "" {
			namespaces[1] = flags.workspaces
		}
		client, err := connect(settings)
		if err != nil {
			return err
		}
		running, err := lock.Cluster(ctx, client, namespaces...)
		if err != nil {
			return err
		}
		if len(running.Findings) > 0 {
			return hook.Refuse(running.Findings...)
		}
		if running.Containers == 0 {
			return errors.New("no container runs in these namespaces: name the release's with --namespace")
		}
		fmt.Fprintf(talk, "containers that run images of the lock: %d; that have not pulled theirs yet: %d\n",
			running.Containers, running.Pending)
		return nil
	}
	if flags.registry != "" {
		if err := images.CheckHost(flags.registry); err != nil {
			return err
		}
	}
	registries, err := flags.Open()
	if err != nil {
		return err
	}
	verifier := images.Verifier{Registries: registries, Mirror: flags.registry, Jobs: flags.jobs}
	if err := verifier.Verify(ctx, lock); err != nil {
		return err
	}
	fmt.Fprintf(talk, "all %d images are as locked\n", len(lock.Images))
	return nil
}
