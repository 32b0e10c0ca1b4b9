// Package source finds the checkout that the testbed runs from: it builds its tools and images out of that tree.
package source

import (
	"fmt"
	"os"
	"path/filepath"
)

// Env names the environment variable that holds the checkout's root, for a testbed started elsewhere.
const Env = "NEUTREE_TESTBED_SOURCE"

// marker is a directory that only this project's root has.
const marker = "test/testbed/tools"

// Root is the root of the checkout: what Env names, else the nearest directory at or above the working directory
// that holds the testbed's tools.
func Root() (string, error) {
	if named := os.Getenv(Env); named != "" {
		root, err := filepath.Abs(named)
		if err != nil {
			return "", fmt.Errorf("%s: %w", Env, err)
		}
		if !isRoot(root) {
			return "", fmt.Errorf("%s=%s holds no %s: set it to the root of a checkout of this project", Env, named, marker)
		}
		return root, nil
	}
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	return above(start)
}

func above(start string) (string, error) {
	for dir := start; ; dir = filepath.Dir(dir) {
		if isRoot(dir) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no %s at or above %s: run the testbed inside a checkout of this project, or set %s to one", marker, start, Env)
		}
	}
}

func isRoot(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, marker))
	return err == nil && info.IsDir()
}
