// Package cnpgchart makes the chart of the CloudNativePG operator that the umbrella chart depends on, for machines that
// cannot reach its repository. What is data (CRDs, permissions, webhooks, monitoring queries) comes out of the release
// manifest in the operator's own Go module; the rest is a small chart with the public one's names and values.
package cnpgchart

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/test/publishedchart"
	"github.com/neutree-ai/packaging/test/testbed/internal/source"
)

const (
	// Name is the chart's name, and that of its directory.
	Name = publishedchart.Name
	// marker is a file of every copy that Umbrella wrote. Helm reads no file in charts/ whose name begins with a dot.
	marker = "charts/.testbed"
	// operatorModule is the operator's Go module, whose version tools/cloudnative-pg pins.
	operatorModule = "github.com/cloudnative-pg/cloudnative-pg"
)

//go:embed all:chart
var chart embed.FS

// Compose writes the chart to the directory cloudnative-pg in outDir, which must not be there yet.
func Compose(ctx context.Context, outDir string) error {
	target := filepath.Join(outDir, Name)
	if _, err := os.Lstat(target); err == nil {
		return fmt.Errorf("compose the CloudNativePG chart: %s is there already: remove it or name another directory", target)
	}
	appVersion, err := embeddedAppVersion()
	if err != nil {
		return fmt.Errorf("compose the CloudNativePG chart: %w", err)
	}
	release, err := releaseManifest(ctx, appVersion)
	if err != nil {
		return fmt.Errorf("compose the CloudNativePG chart: %w", err)
	}
	files, err := fromManifest(release)
	if err != nil {
		return fmt.Errorf("compose the CloudNativePG chart: release manifest %s: %w", appVersion, err)
	}
	plain, err := fs.Sub(chart, "chart")
	if err != nil {
		return fmt.Errorf("compose the CloudNativePG chart: %w", err)
	}
	if err := os.CopyFS(target, plain); err != nil {
		return fmt.Errorf("compose the CloudNativePG chart: %w", err)
	}
	for name, content := range files {
		path := filepath.Join(target, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("compose the CloudNativePG chart: %w", err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return fmt.Errorf("compose the CloudNativePG chart: %w", err)
		}
	}
	return nil
}

// Umbrella copies the umbrella chart at chartDir to outDir with the operator's chart among its dependencies: the published
// one at this path, or, where that is empty, the composed one. An earlier copy at outDir is replaced; anything else there
// is left alone and refused.
func Umbrella(ctx context.Context, chartDir, outDir, published string) error {
	name, err := chartName(chartDir)
	if err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	if err := replaceable(outDir, name); err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(outDir)), 0o755); err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(filepath.Clean(outDir)), ".chart-")
	if err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	defer os.RemoveAll(temporary)
	whole := filepath.Join(temporary, "chart")
	if err := os.CopyFS(whole, os.DirFS(chartDir)); err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	// What `helm dependency build` may have left there would be a second chart of the same name.
	fetched, err := filepath.Glob(filepath.Join(whole, "charts", Name+"*"))
	if err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	for _, path := range fetched {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("copy the chart %s: %w", chartDir, err)
		}
	}
	if err := addOperator(ctx, filepath.Join(whole, "charts"), published); err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	if err := os.WriteFile(filepath.Join(whole, marker), nil, 0o644); err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	if err := os.RemoveAll(outDir); err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	if err := os.Rename(whole, outDir); err != nil {
		return fmt.Errorf("copy the chart %s: %w", chartDir, err)
	}
	return nil
}

// addOperator puts the operator's chart into dir.
func addOperator(ctx context.Context, dir, published string) error {
	if published == "" {
		return Compose(ctx, dir)
	}
	return publishedchart.CopyTo(published, dir)
}

// replaceable refuses a target that holds anything but an earlier copy of the chart called name.
func replaceable(target, name string) error {
	entries, err := os.ReadDir(target)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	if found, err := chartName(target); err != nil || found != name {
		return fmt.Errorf("%s holds something other than a copy of it: name a directory that is empty or not there", target)
	}
	// Copies that are older than the marker have the manifest's folder instead.
	_, marked := os.Stat(filepath.Join(target, marker))
	_, composed := os.Stat(filepath.Join(target, "charts", Name, "manifest"))
	if marked != nil && composed != nil {
		return fmt.Errorf("%s holds a chart that this command did not write: name a directory that is empty or not there", target)
	}
	return nil
}

func chartName(dir string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, "Chart.yaml"))
	if err != nil {
		return "", err
	}
	var meta struct {
		Name string `json:"name"`
	}
	if err := yaml.Unmarshal(content, &meta); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(dir, "Chart.yaml"), err)
	}
	return meta.Name, nil
}

func embeddedAppVersion() (string, error) {
	content, err := chart.ReadFile("chart/Chart.yaml")
	if err != nil {
		return "", err
	}
	var meta struct {
		AppVersion string `json:"appVersion"`
	}
	if err := yaml.Unmarshal(content, &meta); err != nil {
		return "", err
	}
	return meta.AppVersion, nil
}

// releaseManifest reads the manifest that the operator's module carries for version.
func releaseManifest(ctx context.Context, version string) ([]byte, error) {
	root, err := source.Root()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", operatorModule)
	command.Dir = filepath.Join(root, "test/testbed/tools", Name)
	command.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	output, err := command.Output()
	var module struct{ Dir, Version, Error string }
	if decoded := json.Unmarshal(output, &module); err == nil && decoded != nil {
		err = decoded
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the operator's module %s: %w %s", operatorModule, err, module.Error)
	}
	if module.Version != "v"+version {
		return nil, fmt.Errorf("the chart is for the operator %s, but %s pins %s", version, filepath.Join(command.Dir, "go.mod"), module.Version)
	}
	return os.ReadFile(filepath.Join(module.Dir, "releases", "cnpg-"+version+".yaml"))
}

// escape keeps Helm from reading text as a template.
func escape(text string) string { return strings.ReplaceAll(text, "{{", `{{ "{{" }}`) }
