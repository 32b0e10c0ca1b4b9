// Package publishedchart finds the chart of the CloudNativePG operator as its authors publish it. Tests use it in place
// of the ones that this repository composes, where it is available; no copy of it is part of this repository.
package publishedchart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

const (
	// Name is the chart's name.
	Name = "cloudnative-pg"
	// Variable names the chart: the path of an archive or folder, or Download.
	Variable = "CLOUDNATIVE_PG_CHART"
	// Download as the value of Variable asks the chart's repository, by the helm that HELM names.
	Download = "download"
	// patience bounds the download, so that a network without a way out delays a test and does not hang it.
	patience = 20 * time.Second
)

// ErrNotAvailable is the error when Variable names no chart, or the repository cannot be reached.
var ErrNotAvailable = errors.New("the published CloudNativePG chart is not available")

// Find returns the path of the chart in the version that the umbrella chart depends on. A download goes to dir.
func Find(ctx context.Context, umbrella, dir string) (string, error) {
	named := os.Getenv(Variable)
	if named == "" {
		return "", fmt.Errorf("%w: %s is not set", ErrNotAvailable, Variable)
	}
	wanted, err := dependency(umbrella)
	if err != nil {
		return "", err
	}
	path := named
	if named == Download {
		if path, err = download(ctx, wanted, dir); err != nil {
			return "", err
		}
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	found, err := loader.Load(path)
	if err != nil {
		return "", fmt.Errorf("%s=%s: %w: give the absolute path of the chart's archive or folder", Variable, named, err)
	}
	if found.Name() != Name || found.Metadata.Version != wanted.Version {
		return "", fmt.Errorf("%s=%s is the chart %s %s, but %s depends on %s %s", Variable, named,
			found.Name(), found.Metadata.Version, umbrella, Name, wanted.Version)
	}
	return path, nil
}

// CopyTo puts the chart at path, an archive or folder, into the folder Name in dir. A folder of the chart's sources lacks
// the charts that it depends on itself. Those that a value turns on are left out: Helm would not install the rest.
func CopyTo(path, dir string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return chartutil.ExpandFile(dir, path)
	}
	to := filepath.Join(dir, Name)
	if err := os.CopyFS(to, os.DirFS(path)); err != nil {
		return err
	}
	chartfile := filepath.Join(to, chartutil.ChartfileName)
	metadata, err := chartutil.LoadChartfile(chartfile)
	if err != nil {
		return fmt.Errorf("read %s: %w", chartfile, err)
	}
	all := len(metadata.Dependencies)
	metadata.Dependencies = slices.DeleteFunc(metadata.Dependencies, func(d *helmchart.Dependency) bool {
		found, err := filepath.Glob(filepath.Join(to, "charts", d.Name+"*"))
		return err == nil && len(found) == 0 && d.Condition != ""
	})
	if len(metadata.Dependencies) == all {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(to, "Chart.lock")); err != nil {
		return err
	}
	return chartutil.SaveChartfile(chartfile, metadata)
}

// dependency is what the umbrella chart says about the operator's chart.
func dependency(umbrella string) (*helmchart.Dependency, error) {
	metadata, err := chartutil.LoadChartfile(filepath.Join(umbrella, chartutil.ChartfileName))
	if err != nil {
		return nil, fmt.Errorf("read which %s the chart %s depends on: %w", Name, umbrella, err)
	}
	for _, dependency := range metadata.Dependencies {
		if dependency.Name == Name {
			return dependency, nil
		}
	}
	return nil, fmt.Errorf("the chart %s does not depend on %s", umbrella, Name)
}

// download pulls the chart with Helm's own client, which knows the user's proxy and certificates.
func download(ctx context.Context, wanted *helmchart.Dependency, dir string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := exec.CommandContext(bounded, cmp.Or(os.Getenv("HELM"), "helm"), "pull", wanted.Name,
		"--repo", wanted.Repository, "--version", wanted.Version, "--destination", dir)
	command.WaitDelay = time.Second
	output, err := command.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case bounded.Err() != nil:
		return "", fmt.Errorf("%w: %s did not answer within %s", ErrNotAvailable, wanted.Repository, patience)
	case err != nil:
		return "", fmt.Errorf("%w: helm pull from %s: %w: %s", ErrNotAvailable, wanted.Repository, err,
			strings.TrimSpace(string(output)))
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%s.tgz", wanted.Name, wanted.Version)), nil
}
