package workspace

import (
	"fmt"

	"github.com/neutree-ai/packaging/internal/platform"
)

const (
	// VersionAnnotation says which version of the pod template a workspace was made with.
	VersionAnnotation = "agent-platform/workspace-version"
	// ImageAnnotation says which agent image a workspace was made with.
	ImageAnnotation = "agent-platform/agent-image"
	// IDLabel holds the id of the workspace that an object belongs to.
	IDLabel = "workspace-id"
	// TokenKey is the key of a workspace's token in its Secret.
	TokenKey = "WORKSPACE_TOKEN"
	// Environment is the id of the environment that the built-in runner serves.
	Environment = "builtin"
)

// The states that the control plane may want a workspace to be in.
const (
	Running   = "running"
	Stopped   = "stopped"
	Destroyed = "destroyed"
)

// Selector selects the objects of all workspaces.
const Selector = "app=" + platform.WorkspaceApp

// Name is the name of a workspace's Deployment, StatefulSet and Service.
func Name(id string) string { return platform.WorkspacePrefix + id }

// HeadlessName is the name of the Service that a StatefulSet needs.
func HeadlessName(id string) string { return Name(id) + "-hl" }

// ClaimName is the name of a workspace's volume claim.
func ClaimName(id string) string { return Name(id) + "-workspace" }

// TokenName is the name of the Secret with a workspace's token.
func TokenName(id string) string { return Name(id) + "-token" }

// Labels are on every object of a workspace.
func Labels(id string) map[string]string {
	return map[string]string{"app": platform.WorkspaceApp, "component": "workspace", IDLabel: id}
}

// AgentURL is where the agent of a workspace answers. Other cluster domains than cluster.local are not
// served, as in the real platform.
func AgentURL(namespace, id string) string {
	return fmt.Sprintf("http://%s.%s.svc.cluster.local:%d", Name(id), namespace, platform.WorkspacePort)
}
