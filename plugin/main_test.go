package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
	"github.com/neutree-ai/packaging/internal/version"
)

// The plugin is tested as Helm finds it: plugin.yaml beside bin/helm-neutree. HELM_NEUTREE names a built
// binary, HELM318, HELM3 and HELM4 the Helm to call it through.

const manifest = "../plugin.yaml"

// helms are the variables that name a Helm each: 3.18, the newest Helm 3, and Helm 4.
var helms = []string{"HELM318", "HELM3", "HELM4"}

// install lays the plugin out as a checkout has it and returns the directory.
func install(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "plugins", "neutree")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plugin.yaml"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if raw, err = os.ReadFile("../plugin.complete"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plugin.complete"), raw, 0o755); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "bin", "helm-neutree")
	if built := os.Getenv("HELM_NEUTREE"); built != "" {
		built, err := filepath.Abs(built)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(built, target); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	stamp := fmt.Sprintf("-X github.com/neutree-ai/packaging/internal/version.version=%s", declared(t))
	build := exec.Command("go", "build", "-trimpath", "-ldflags", stamp, "-o", target, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	return dir
}

// declared is the version that plugin.yaml names.
func declared(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct{ Version string }
	if err := yaml.Unmarshal(raw, &metadata); err != nil {
		t.Fatalf("plugin.yaml: %v", err)
	}
	return metadata.Version
}

func TestScripts(t *testing.T) {
	dir, kubeconfig, chart := install(t), emptyCluster(t), requirementtest.Umbrella(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Join(dir, "bin")+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HELM_PLUGINS", filepath.Dir(dir))
			env.Setenv("VERSION", declared(t))
			env.Setenv("EMPTY_CLUSTER", kubeconfig)
			env.Setenv("CHART", chart)
			for _, name := range helms {
				if helm := os.Getenv(name); helm != "" {
					path, err := filepath.Abs(helm)
					if err != nil {
						return err
					}
					env.Setenv(name, path)
				}
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if variable := strings.ToUpper(name); slices.Contains(helms, variable) {
				return os.Getenv(variable) != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

func TestBuiltVersionIsThatOfTheManifest(t *testing.T) {
	out, err := exec.Command(filepath.Join(install(t), "bin", "helm-neutree"), "version", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got version.Info
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("version -o json printed %q: %v", out, err)
	}
	if want := declared(t); got.Version != want {
		t.Errorf("the binary says %s, plugin.yaml says %s", got.Version, want)
	}
}
