package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/plugin"
	"sigs.k8s.io/yaml"
)

func TestManifestLoadsInHelm3(t *testing.T) {
	loaded, err := plugin.LoadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HELM_PLUGIN_DIR", root)
	command, args, err := loaded.PrepareCommand([]string{"version"})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(root, "bin", "helm-neutree"); command != want || len(args) != 1 || args[0] != "version" {
		t.Errorf("helm neutree version runs %s %q, want %s with [version]", command, args, want)
	}
}

// What the older and newer Helm versions refuse is not in Helm 3.22's own loader.
func TestManifestFitsEveryHelm(t *testing.T) {
	raw, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := yaml.UnmarshalStrict(raw, &fields); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"apiVersion", "type", "runtime", "config", "runtimeConfig", "platformHooks"} {
		if _, found := fields[key]; found {
			t.Errorf("plugin.yaml: %s is unknown to some Helm 3, which then loads no plugin at all", key)
		}
	}
	commands := 0
	for _, key := range []string{"command", "platformCommand"} {
		if _, found := fields[key]; found {
			commands++
		}
	}
	if commands != 1 {
		t.Errorf("plugin.yaml has %d of command and platformCommand, want exactly one: Helm 4 refuses both", commands)
	}
	if _, err := semver.StrictNewVersion(fields["version"].(string)); err != nil {
		t.Errorf("plugin.yaml: version %v: %v", fields["version"], err)
	}
}
