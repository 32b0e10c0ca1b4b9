package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onPath makes a script the only program on PATH and returns its path.
func onPath(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHelmOnPath(t *testing.T) {
	for version, refused := range map[string]string{
		"v4.3.2": "", "v4.0.0-rc.1": "", "v3.22.0": "", "v3.18.0": "", "v3.18.6+g1234567": "",
		"v3.17.4": "is version 3.17.4, 3.18.0 or later is needed",
		"v2.17.0": "is version 2.17.0, 3.18.0 or later is needed",
		"unknown": `could not parse "unknown"`,
	} {
		t.Run(version, func(t *testing.T) {
			path := onPath(t, "helm", fmt.Sprintf(`test "$1 $2 $3" = "version --template {{.Version}}" && echo %s`, version))
			check(t, "helm-3", path, refused)
		})
	}
}

func TestKubectlOnPathFollowsTheCluster(t *testing.T) {
	const answer = `echo '{"clientVersion": {"gitVersion": "%s"}, "serverVersion": {"gitVersion": "%s"}}'`
	for _, test := range []struct{ client, server, refused string }{
		{"v1.34.4", "v1.34.4", ""},
		{"v1.33.0", "v1.34.4+k3s1", ""},
		{"v1.35.1", "v1.34.4", ""},
		{"v1.32.4-dispatcher", "v1.34.4", "is version 1.32.4-dispatcher, more than one minor version away from the cluster's 1.34.4"},
		{"v1.36.0", "v1.34.4", "is version 1.36.0, more than one minor version away from the cluster's 1.34.4"},
		{"v1.34.4", "", "the cluster's version: "},
	} {
		t.Run(test.client+" and "+test.server, func(t *testing.T) {
			path := onPath(t, "kubectl", fmt.Sprintf(answer, test.client, test.server))
			check(t, "kubectl", path, test.refused)
		})
	}
	t.Run("no cluster", func(t *testing.T) {
		path := onPath(t, "kubectl", "echo connection refused >&2; exit 1")
		check(t, "kubectl", path, "ask for its version: exit status 1: connection refused")
	})
}

func TestNothingOnPath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	check(t, "helm-3", "", "executable file not found")
	check(t, "traefik", "", "tool traefik has no substitute on PATH")
}

// check asks for a tool on PATH: it is at path, unless it is refused.
func check(t *testing.T, tool, path, refused string) {
	t.Helper()
	got, err := OnPath(t.Context(), tool)
	switch {
	case refused == "" && (err != nil || got != path):
		t.Errorf("got %q, %v; want %q", got, err, path)
	case refused != "" && (err == nil || !strings.Contains(err.Error(), refused)):
		t.Errorf("got %q, %v; want %q", got, err, refused)
	}
}
