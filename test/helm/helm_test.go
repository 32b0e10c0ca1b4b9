//go:build helm

package helm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// variable is set by `make test-unit`.
func variable(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run these tests by `make test-unit`", name)
	}
	return value
}

// run returns what helm prints for programs. Helm writes what it prints for people to the other stream.
func run(t *testing.T, helm string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), helm, args...)
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	if err := command.Run(); err != nil {
		return output.String(), fmt.Errorf("%w\n%s", err, problems.String())
	}
	return output.String(), nil
}

func valuesFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../../charts/neutree/ci/*-values.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no values files (%v)", err)
	}
	return paths
}

// Both Helm versions make the same objects of every values file, for the oldest Kubernetes and for the newest, and
// make them again from run to run: nothing in them is random, of the clock, or of a cluster.
func TestRendersAreTheSame(t *testing.T) {
	chart := variable(t, "CHART")
	for _, values := range valuesFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(values), "-values.yaml"), func(t *testing.T) {
			var first map[string]any
			var from string
			for _, by := range []struct{ helm, kubernetes string }{{"HELM3", "1.28.0"}, {"HELM4", "1.28.0"}, {"HELM4", "1.37.0"}} {
				output, err := run(t, variable(t, by.helm), "template", "neutree", chart, "--namespace", "nap", "--values", values, "--kube-version", by.kubernetes)
				if err != nil {
					t.Fatalf("%s: %v", by, err)
				}
				if got := objects(t, output); first == nil {
					first, from = got, fmt.Sprint(by)
				} else if diff := cmp.Diff(first, got); diff != "" {
					t.Errorf("renders of %s (-) and %s (+) differ:\n%.4000s", from, by, diff)
				}
			}
		})
	}
}

// objects are what a render holds, by kind and name: the blank lines between them are of no account.
func objects(t *testing.T, render string) map[string]any {
	t.Helper()
	found := map[string]any{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(render), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			found[fmt.Sprint(object.GroupVersionKind(), object.GetNamespace(), object.GetName())] = object.Object
		}
	}
}

// helm lint --strict finds nothing, in the chart with each values file, and in the charts below it.
func TestLint(t *testing.T) {
	chart := variable(t, "CHART")
	for _, name := range []string{"HELM3", "HELM4"} {
		helm := variable(t, name)
		for _, values := range valuesFiles(t) {
			if output, err := run(t, helm, "lint", "--strict", "--quiet", "--kube-version", "1.34.0", chart, "--values", values); err != nil {
				t.Errorf("%s lint --values %s: %v\n%s", name, filepath.Base(values), err, output)
			}
		}
		for _, below := range subcharts(t) {
			if output, err := run(t, helm, "lint", "--strict", "--quiet", "--kube-version", "1.34.0", below, "--values", filepath.Join(below, "global.yaml")); err != nil {
				t.Errorf("%s lint %s: %v\n%s", name, filepath.Base(below), err, output)
			}
		}
	}
}

// subcharts are copies of the charts below the umbrella, each with what the umbrella lends it: the library, and the
// values that all share.
func subcharts(t *testing.T) []string {
	t.Helper()
	const umbrella = "../../charts/neutree"
	paths, err := filepath.Glob(filepath.Join(umbrella, "charts", "*", "Chart.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no charts below %s (%v)", umbrella, err)
	}
	raw, err := os.ReadFile(filepath.Join(umbrella, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var shared struct {
		Global map[string]any `json:"global"`
	}
	if err := yaml.Unmarshal(raw, &shared); err != nil {
		t.Fatal(err)
	}
	lent, err := yaml.Marshal(shared)
	if err != nil {
		t.Fatal(err)
	}
	var copies []string
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		if name == "cloudnative-pg" {
			continue
		}
		to := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(to, os.DirFS(filepath.Dir(path))); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, "global.yaml"), lent, 0o644); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, to)
		if name == "common" {
			continue
		}
		if err := os.CopyFS(filepath.Join(to, "templates", "common"), os.DirFS(filepath.Join(umbrella, "charts", "common", "templates"))); err != nil {
			t.Fatal(err)
		}
	}
	return copies
}
