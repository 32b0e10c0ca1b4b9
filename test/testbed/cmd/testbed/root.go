package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/test/testbed/internal/cluster"
	"github.com/neutree-ai/packaging/test/testbed/internal/progress"
)

// Environment variables that name the testbed's two directories.
const (
	stateEnv = "NEUTREE_TESTBED_STATE"
	cacheEnv = "NEUTREE_TESTBED_CACHE"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "testbed",
		Short: "A real Kubernetes cluster on one Linux machine",
		Long: `A real Kubernetes cluster on one Linux machine: several nodes, storage classes, enforced NetworkPolicies and a
registry that answers for the public ones, all in namespaces of its own.

It keeps its state in ` + "$" + stateEnv + ` (default /var/lib/neutree-testbed) and what it builds in
` + "$" + cacheEnv + ` (default ~/.cache/neutree-testbed).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.AddCommand(
		newUp(), newDown(), newStatus(), newKubeconfig(), newLogs(), newNode(), newRestart(),
		newBuild(), newTool(), newChart(), newPublishedChart(), newPush(),
		newHub(), newServices(), newNetworkPolicy(), newProbe(),
	)
	return root
}

// newTestbed is the one that the environment names.
func newTestbed() (*cluster.Testbed, error) {
	state := os.Getenv(stateEnv)
	if state == "" {
		state = "/var/lib/neutree-testbed"
	}
	state, err := filepath.Abs(state)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return &cluster.Testbed{Log: newLog(), StateDir: state, CacheDir: cache}, nil
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
