// Package workspace holds what the control plane and the runner must both know about workspaces: how
// they are made, what their objects are called, and how their desired state is written down.
package workspace

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/standin/internal/config"
)

// Settings are how workspaces are made.
type Settings struct {
	Namespace       string
	ControlPlaneURL string
	ImagePrefix     string
	ImageTag        string
	StorageClass    string
	StorageSize     string
	PullSecret      string
	NodeSelector    map[string]string
	MultiReplica    bool
	AFSImage        string
	AFSController   string
	AFSFuseServer   string
	AFSClaim        string
	AFSConfig       string
	MemoryImage     string
	// Coupled are the raw values on which control plane and runner must agree.
	Coupled map[string]string
}

// ReadSettings reads them from the environment. What is required is checked with the workload's own.
func ReadSettings(env *config.Env) (Settings, error) {
	s := Settings{
		Namespace:       env.Required("K8S_NAMESPACE"),
		ControlPlaneURL: env.Required("CP_SERVICE_URL"),
		ImagePrefix:     env.Required("AGENT_IMAGE_PREFIX"),
		ImageTag:        env.Required("AGENT_IMAGE_TAG"),
		StorageClass:    env.Optional("AGENT_STORAGE_CLASS", ""),
		StorageSize:     env.Optional("WORKSPACE_STORAGE_SIZE", "10Gi"),
		PullSecret:      env.Optional("IMAGE_PULL_SECRET", ""),
		MultiReplica:    env.Optional("WORKSPACE_MULTI_REPLICA", "") == "true",
		AFSImage:        env.Required("AFS_IMAGE"),
		AFSController:   env.Required("AFS_CONTROLLER_ADDR"),
		AFSFuseServer:   env.Optional("AFS_FUSE_SERVER_ADDR", "127.0.0.1:9101"),
		AFSClaim:        env.Optional("AFS_STORAGE_PVC", platform.SharedClaim),
		AFSConfig:       env.Optional("AFS_CONFIGMAP", platform.FuseConfig),
		MemoryImage:     env.Required("MEMORY_FUSE_IMAGE"),
		Coupled:         map[string]string{},
	}
	if err := env.Err(); err != nil {
		return Settings{}, err
	}
	for _, coupled := range contract.ProviderEnv() {
		s.Coupled[coupled.Name] = env.Optional(coupled.Name, "")
	}
	if base := env.Optional("AFS_DEFAULT_FS_BASE_PATH", "/data/afs"); base != "/data/afs" {
		return Settings{}, fmt.Errorf("wrong environment: AFS_DEFAULT_FS_BASE_PATH is %s, and the sidecars mount /data/afs", base)
	}
	if _, err := resource.ParseQuantity(s.StorageSize); err != nil {
		return Settings{}, fmt.Errorf("wrong environment: WORKSPACE_STORAGE_SIZE %q is no amount of storage such as 10Gi", s.StorageSize)
	}
	if problems := validation.IsDNS1123Label(s.Namespace); len(problems) > 0 {
		return Settings{}, fmt.Errorf("wrong environment: K8S_NAMESPACE %q is no namespace: %s", s.Namespace, problems[0])
	}
	var err error
	s.NodeSelector, err = parseSelector(env.Optional("AGENT_NODE_SELECTOR", ""))
	return s, err
}

func parseSelector(text string) (map[string]string, error) {
	selector := map[string]string{}
	if text == "" {
		return selector, nil
	}
	for term := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(term, "=")
		if !found || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			return nil, fmt.Errorf("wrong environment: AGENT_NODE_SELECTOR %q is not of the form key=value,key2=value2", text)
		}
		selector[key] = value
	}
	return selector, nil
}

// AgentImage is the image of a kind of agent.
func (s Settings) AgentImage(agentType string) string {
	return s.ImagePrefix + "-" + agentType + ":" + s.ImageTag
}
