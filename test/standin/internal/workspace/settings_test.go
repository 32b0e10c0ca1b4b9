package workspace

import (
	"maps"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
)

func settings(t *testing.T, changes map[string]string) (Settings, error) {
	t.Helper()
	values := map[string]string{
		"K8S_NAMESPACE": "nap-workspaces", "CP_SERVICE_URL": "http://nap-cp.nap.svc:3000",
		"AGENT_IMAGE_PREFIX": "ghcr.io/neutree-ai/agent-platform/nap-agent", "AGENT_IMAGE_TAG": "v0.2.0",
		"AFS_IMAGE": "ghcr.io/neutree-ai/afs:latest", "AFS_CONTROLLER_ADDR": "afs-controller.nap.svc:9100",
		"MEMORY_FUSE_IMAGE": "ghcr.io/neutree-ai/agent-platform/nap-memory-fuse:v0.2.0",
	}
	maps.Copy(values, changes)
	return ReadSettings(config.New(func(name string) (string, bool) {
		value, set := values[name]
		return value, set
	}))
}

func TestSettings(t *testing.T) {
	s, err := settings(t, map[string]string{"AGENT_NODE_SELECTOR": "pool=agents,disk=ssd"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.AgentImage("codex"), "ghcr.io/neutree-ai/agent-platform/nap-agent-codex:v0.2.0"; got != want {
		t.Errorf("AgentImage = %q, want %q", got, want)
	}
	if s.NodeSelector["pool"] != "agents" || s.NodeSelector["disk"] != "ssd" {
		t.Errorf("NodeSelector = %v", s.NodeSelector)
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, test := range map[string]struct{ value, want string }{
		"AGENT_NODE_SELECTOR":      {"{pool: agents}", "is not of the form key=value"},
		"AFS_DEFAULT_FS_BASE_PATH": {"/data", "the sidecars mount /data/afs"},
		"K8S_NAMESPACE":            {"nap_workspaces", "is no namespace"},
		"WORKSPACE_STORAGE_SIZE":   {"10 GB", "is no amount of storage"},
	} {
		_, err := settings(t, map[string]string{name: test.value})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s=%s: %v, want %q", name, test.value, err, test.want)
		}
	}
}
