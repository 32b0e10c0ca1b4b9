package contract

// Path is a prefix of what the control plane serves, and whom it is for.
type Path struct {
	Path string
	// For is who has business there.
	For Audience
}

// Audience is who may reach a path from outside the cluster.
type Audience int

const (
	// Users come with a session, a capability in the link, or to log in.
	Users Audience = iota
	// Nobody comes from outside: workspaces and services do, and some of these paths ask for no password.
	Nobody
	// RemoteEnvironments come from outside only where there are any.
	RemoteEnvironments
	// ChatSystems deliver messages, to the channel gateway.
	ChatSystems
)

// Paths are what the platform serves under the origin of the web interface.
func Paths() []Path {
	paths := []Path{
		{"/mcp", Nobody}, {"/metrics", Nobody}, {"/_cp", Nobody}, {"/workspace/v1", Nobody}, {"/svc/v1", Nobody},
		{"/env/v1", RemoteEnvironments}, {"/env-gateway", RemoteEnvironments},
		{"/webhook/", ChatSystems},
	}
	for _, path := range []string{
		"/", "/login", "/api/auth/login", "/api/auth/wecom/callback", "/api/version", "/static", "/assets", "/_cg", "/_proxy",
		"/api/shares/public", "/s", "/sk", "/.well-known/agent-skills", "/api/oauth/token", "/api/oauth/userinfo", "/internal/connectors",
	} {
		paths = append(paths, Path{path, Users})
	}
	return paths
}
