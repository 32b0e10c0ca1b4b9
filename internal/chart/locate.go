package chart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DefaultPath is the chart in a checkout of this repository.
const DefaultPath = "charts/neutree"

// Locate finds a chart as `helm install` does: a directory or archive as it is, and what stands in a repository or
// registry by asking Helm to pull it into dir. An empty reference stands for the chart that came with the plugin, or for
// that of a checkout.
func Locate(ctx context.Context, reference, version, dir string) (string, error) {
	if reference == "" {
		return defaultChart()
	}
	if _, err := os.Stat(reference); err == nil {
		return reference, nil
	}
	if strings.HasPrefix(reference, ".") || filepath.IsAbs(reference) || !strings.Contains(reference, "/") {
		return "", fmt.Errorf("there is no chart at %s: name a directory, an archive, REPOSITORY/CHART or an oci:// address", reference)
	}
	helm := cmp.Or(os.Getenv("HELM_BIN"), "helm")
	args := []string{"pull", reference, "--destination", dir}
	if version != "" {
		args = append(args, "--version", version)
	}
	if out, err := exec.CommandContext(ctx, helm, args...).CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("pull chart %s: %w: %s", reference, err, strings.TrimSpace(string(out)))
	}
	pulled, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(pulled) != 1 {
		return "", fmt.Errorf("pull chart %s: helm left %d archives, not one", reference, len(pulled))
	}
	return pulled[0], nil
}

func defaultChart() (string, error) {
	candidates := []string{DefaultPath}
	if dir := os.Getenv("HELM_PLUGIN_DIR"); dir != "" {
		candidates = append([]string{filepath.Join(dir, DefaultPath)}, candidates...)
	}
	for _, path := range candidates {
		if _, err := os.Stat(filepath.Join(path, "Chart.yaml")); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no chart came with this plugin, and there is none in ./" + DefaultPath + ": name one, as for `helm install NAME CHART`")
}
