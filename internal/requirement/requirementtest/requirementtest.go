// Package requirementtest derives requirements from the repository's own chart, for tests.
package requirementtest

import (
	"os"
	"path/filepath"
	"testing"

	"helm.sh/helm/v3/pkg/cli/values"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Umbrella is a copy of the chart with a small chart in the place of the operator's.
func Umbrella(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(root, "charts", "neutree")) {
		if root == filepath.Dir(root) {
			t.Fatal("the test does not run inside the repository")
		}
		root = filepath.Dir(root)
	}
	dir := filepath.Join(t.TempDir(), "neutree")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "charts", "neutree"))); err != nil {
		t.Fatal(err)
	}
	downloaded, err := filepath.Glob(filepath.Join(dir, "charts", "cloudnative-pg*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range downloaded {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "charts", "cloudnative-pg"), os.DirFS(filepath.Join(root, "test", "chart", "testdata", "cloudnative-pg"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Load derives what release "neutree" in namespace "nap" needs with values of the form key=value.
func Load(t *testing.T, set ...string) *requirement.Set {
	t.Helper()
	loaded, err := requirement.Load(requirement.Options{
		Chart: Umbrella(t), Release: "neutree", Namespace: "nap", Values: values.Options{Values: set},
		Kubernetes: chart.Kubernetes{Version: "1.34"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}
