package publishedchart_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/neutree-ai/packaging/test/publishedchart"
)

// umbrella writes a chart that depends on version 1.2.3 of the operator's chart.
func umbrella(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text := `apiVersion: v2
name: umbrella
version: 0.1.0
dependencies: [{name: cloudnative-pg, version: 1.2.3, repository: "https://charts.example.com"}]
`
	if err := os.WriteFile(filepath.Join(dir, "Chart.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// operator is a chart in a folder and in an archive.
func operator(t *testing.T, version string) (folder, archive string) {
	t.Helper()
	metadata := &helmchart.Metadata{APIVersion: "v2", Name: publishedchart.Name, Version: version}
	chart := &helmchart.Chart{Metadata: metadata}
	dir := t.TempDir()
	if err := chartutil.SaveDir(chart, dir); err != nil {
		t.Fatal(err)
	}
	archive, err := chartutil.Save(chart, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, publishedchart.Name), archive
}

// helm makes HELM a program of one line.
func helm(t *testing.T, line string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helm")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+line+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HELM", path)
}

func TestFolderAndArchive(t *testing.T) {
	folder, archive := operator(t, "1.2.3")
	for _, named := range []string{folder, archive} {
		t.Setenv(publishedchart.Variable, named)
		path, err := publishedchart.Find(t.Context(), umbrella(t), t.TempDir())
		if err != nil || path != named {
			t.Errorf("found %s, want %s: %v", path, named, err)
			continue
		}
		dir := t.TempDir()
		if err := publishedchart.CopyTo(path, dir); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, publishedchart.Name, "Chart.yaml")); err != nil {
			t.Errorf("copied from %s: %v", named, err)
		}
	}
}

// The sources of the chart install without the charts that only a value turns on.
func TestSourcesWithoutTheirDependencies(t *testing.T) {
	folder, _ := operator(t, "1.2.3")
	chartfile := filepath.Join(folder, "Chart.yaml")
	metadata, err := chartutil.LoadChartfile(chartfile)
	if err != nil {
		t.Fatal(err)
	}
	for _, dependency := range []helmchart.Dependency{
		{Name: "optional", Version: "1", Condition: "optional.enabled"}, {Name: "built", Version: "1", Condition: "built.enabled"},
		{Name: "needed", Version: "1"},
	} {
		metadata.Dependencies = append(metadata.Dependencies, &dependency)
	}
	if err := chartutil.SaveChartfile(chartfile, metadata); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(folder, "charts", "built"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := publishedchart.CopyTo(folder, dir); err != nil {
		t.Fatal(err)
	}
	copied, err := chartutil.LoadChartfile(filepath.Join(dir, publishedchart.Name, "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, dependency := range copied.Dependencies {
		names = append(names, dependency.Name)
	}
	if got := strings.Join(names, " "); got != "built needed" {
		t.Errorf("the copy depends on %q", got)
	}
}

func TestDownload(t *testing.T) {
	t.Setenv(publishedchart.Variable, publishedchart.Download)
	_, archive := operator(t, "1.2.3")
	helm(t, `test "$*" = "pull cloudnative-pg --repo https://charts.example.com --version 1.2.3 --destination $8" &&
cp `+archive+` "$8"`)
	dir := t.TempDir()
	path, err := publishedchart.Find(t.Context(), umbrella(t), dir)
	if want := filepath.Join(dir, "cloudnative-pg-1.2.3.tgz"); err != nil || path != want {
		t.Errorf("found %s, want %s: %v", path, want, err)
	}
	helm(t, "echo no such host >&2; exit 1")
	_, err = publishedchart.Find(t.Context(), umbrella(t), t.TempDir())
	if !errors.Is(err, publishedchart.ErrNotAvailable) || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("a repository that can't be reached: %v", err)
	}
}

func TestNotAvailable(t *testing.T) {
	t.Setenv(publishedchart.Variable, "")
	if _, err := publishedchart.Find(t.Context(), umbrella(t), ""); !errors.Is(err, publishedchart.ErrNotAvailable) {
		t.Errorf("without the variable: %v", err)
	}
	other, _ := operator(t, "1.2.4")
	for named, want := range map[string]string{
		other:                               "is the chart cloudnative-pg 1.2.4, but",
		filepath.Join(t.TempDir(), "x.tgz"): "give the absolute path of the chart's archive or folder",
	} {
		t.Setenv(publishedchart.Variable, named)
		_, err := publishedchart.Find(t.Context(), umbrella(t), "")
		if err == nil || errors.Is(err, publishedchart.ErrNotAvailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", named, err, want)
		}
	}
}
