package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/test/testbed/internal/cluster"
	"github.com/neutree-ai/packaging/test/testbed/internal/images"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/progress"
)

// Environment variables that name the two directories of the testbeds, and the testbed that is meant.
const (
	stateEnv = "NEUTREE_TESTBED_STATE"
	cacheEnv = "NEUTREE_TESTBED_CACHE"
	nameEnv  = "NEUTREE_TESTBED_NAME"
)

// nameFlag is the flag of every command that says which testbed is meant.
const nameFlag = "name"

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "testbed",
		Short: "A real Kubernetes cluster on one Linux machine",
		Long: `A real Kubernetes cluster on one Linux machine: several nodes, storage classes, enforced NetworkPolicies and a
registry that answers for the public ones, all in namespaces of its own.

Several testbeds run side by side under names of their own (--name or $` + nameEnv + `). They keep their state in
a directory of that name below $` + stateEnv + ` (default /var/lib/neutree-testbed) and share what they
build, in $` + cacheEnv + ` (default ~/.cache/neutree-testbed).`,
		Example: `  testbed up --nodes 3
  testbed --name second up --nodes 1
  testbed --name second down`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.AddCommand(
		newUp(), newDown(), newList(), newStatus(), newKubeconfig(), newLogs(), newNode(), newRestart(),
		newBuild(), newTool(), newChart(), newPublishedChart(), newPush(),
		newHub(), newServices(), newNetworkPolicy(), newProbe(),
	)
	name := cmp.Or(os.Getenv(nameEnv), cluster.DefaultName)
	root.PersistentFlags().String(nameFlag, name, "the testbed that is meant, of those that run side by side")
	return root
}

// newTestbed is the one that the command line or the environment names.
func newTestbed(command *cobra.Command) (*cluster.Testbed, error) {
	name, err := command.Flags().GetString(nameFlag)
	if err != nil {
		return nil, err
	}
	if err := plan.ValidateName(name); err != nil {
		return nil, err
	}
	base, err := baseDir()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return &cluster.Testbed{
		Log: newLog(), Name: name, Base: base, StateDir: filepath.Join(base, name), CacheDir: cache,
	}, nil
}

func baseDir() (string, error) {
	base, err := filepath.Abs(cmp.Or(os.Getenv(stateEnv), "/var/lib/neutree-testbed"))
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return base, nil
}

// newTestbedFor is the same one with the images of a set.
func newTestbedFor(command *cobra.Command, set string) (*cluster.Testbed, error) {
	wanted, err := images.ParseSet(set)
	if err != nil {
		return nil, err
	}
	t, err := newTestbed(command)
	if err != nil {
		return nil, err
	}
	t.Images = wanted
	return t, nil
}

// addFor adds the flag that names a set of images.
func addFor(command *cobra.Command) *string {
	return command.Flags().String("for", string(images.ForTests),
		fmt.Sprintf("%s: what a cluster and the platform on it need; %s: also what only tests need; %s: also what only make matrix needs",
			images.ForDemo, images.ForTests, images.ForMatrix))
}

func cacheDir() (string, error) {
	if cache := os.Getenv(cacheEnv); cache != "" {
		return filepath.Abs(cache)
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache directory: %w: set %s", err, cacheEnv)
	}
	return filepath.Join(user, "neutree-testbed"), nil
}

// newLog tells a person each step, with the time since the start.
func newLog() *slog.Logger { return slog.New(progress.NewHandler(os.Stderr)) }
