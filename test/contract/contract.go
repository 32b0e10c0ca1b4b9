// Package contract is what the platform's services need from an installation, as far as only tests ask for it: the
// chart is held to it, and so are the stand-ins of the services.
package contract

import "github.com/neutree-ai/packaging/internal/platform"

// Workload is one of the platform's, with what it needs.
type Workload struct {
	platform.Workload
	// Env is what the main container must find in its environment.
	Env []Env
	// Rules are the rights it uses in the workspaces' namespace. A workload without any gets no token.
	Rules []Rule
	// Migrations is the folder of the image that holds its schema, empty when it has none.
	Migrations string
	// Writable are the directories it must be able to write while its root is read-only. Where they are not
	// known there are none, and the root stays writable.
	Writable []string
	// StopSignal is the only signal the process ends on when that is not TERM.
	StopSignal string
}

// Rule grants verbs on one resource of the workspaces' namespace.
type Rule struct {
	Group    string
	Resource string
	Verbs    []string
	// MultiReplica are the verbs that are needed only where workspaces may have several replicas.
	MultiReplica []string
}

// Workloads are platform.Workloads with what they need.
func Workloads() []Workload { return withNeeds(platform.Workloads()) }

// ModuleWorkloads are platform.ModuleWorkloads with what they need.
func ModuleWorkloads() []Workload { return withNeeds(platform.ModuleWorkloads()) }

func withNeeds(workloads []platform.Workload) []Workload {
	needs := needs()
	var all []Workload
	for _, w := range workloads {
		one := needs[w.Name]
		one.Workload = w
		all = append(all, one)
	}
	return all
}

// Connections is the most that the platform's services open to the database at once: every pool, and a
// second time the pools of those whose old and new pods overlap while they are replaced.
func Connections() int {
	total := 0
	for _, w := range platform.Workloads() {
		total += w.Pool
		if w.Rollout == platform.Surge {
			total += w.Pool
		}
	}
	return total
}

const appsGroup = "apps"

// needs are what the workloads need, by their names.
func needs() map[string]Workload {
	return map[string]Workload{
		"cp": {
			Env:        controlPlaneEnv(),
			Migrations: "/app/migrations",
			Writable:   []string{"/tmp"},
			Rules: []Rule{
				{Resource: "pods", Verbs: []string{"list"}},
				{Resource: "services", Verbs: []string{"get", "list", "delete"}},
				{Resource: "persistentvolumeclaims", Verbs: []string{"get", "delete"}},
				{Resource: "events", Verbs: []string{"list"}},
				{Resource: "secrets", Verbs: []string{"delete"}},
				{Group: appsGroup, Resource: "deployments", Verbs: []string{"get", "list", "watch", "delete"}},
				{Group: appsGroup, Resource: "statefulsets", Verbs: []string{"get", "delete"}, MultiReplica: []string{"list"}},
			},
		},
		"cg": {
			Env: []Env{
				databaseURL(),
				{Name: "JWT_SECRET", From: FromSecret, Format: Text},
				{Name: "NAP_API_URL", Format: URL},
			},
			Migrations: "/app/channel-gateway/migrations",
			Writable:   []string{"/tmp"},
		},
		"skills": {
			Env:      []Env{databaseURL()},
			Writable: []string{"/tmp", "/var/cache/skills-content"},
		},
		"afs-controller": {
			Writable: []string{"/var/lib/afs"},
		},
		"env-runner-k8s": {
			Env:      append([]Env{databaseURL()}, ProviderEnv()...),
			Writable: []string{"/tmp"},
			Rules: []Rule{
				{Resource: "pods", Verbs: []string{"list"}},
				{Resource: "services", Verbs: []string{"get", "list", "create", "delete"}},
				{Resource: "persistentvolumeclaims", Verbs: []string{"get", "create", "patch", "delete"}},
				{Resource: "secrets", Verbs: []string{"create", "update", "delete"}},
				{Group: appsGroup, Resource: "deployments", Verbs: []string{"get", "list", "create", "patch", "delete"}},
				{Group: appsGroup, Resource: "deployments/scale", Verbs: []string{"patch"}},
				{Group: appsGroup, Resource: "statefulsets", Verbs: []string{"get", "list", "create", "patch", "delete"}},
				{Group: appsGroup, Resource: "statefulsets/scale", Verbs: []string{"patch"}},
			},
		},
		"scheduler": {
			Env: []Env{
				databaseURL(),
				{Name: "NAP_API_URL", Format: URL},
				{Name: "CG_API_URL", Format: URL},
				{Name: "PLATFORM_SERVICE_KEY", From: FromSecret, Format: Text},
			},
			Writable:   []string{"/tmp"},
			StopSignal: "INT",
		},
		"sandbox": {
			Env: []Env{
				databaseURL(),
				{Name: "JWT_SECRET", From: FromSecret, Format: Text},
				{Name: "SERVICE_KEY", From: FromSecret, Format: Text},
				{Name: "NAP_URL", Format: URL},
				{Name: "NAP_OAUTH_URL", Format: URL},
				{Name: "SANDBOX_SERVICE_URL", Format: URL},
				{Name: "SANDBOX_DOMAIN", Format: Text},
				{Name: "OPENSANDBOX_URL", Format: URL},
			},
			Migrations: "/app/sandbox-service/migrations",
			Writable:   []string{"/tmp"},
		},
		"browser": {
			Env: []Env{
				databaseURL(),
				{Name: "JWT_SECRET", From: FromSecret, Format: Text},
				{Name: "TURN_AUTH_SECRET", From: FromSecret, Format: Text},
				{Name: "SANDBOX_SERVICE_KEY", From: FromSecret, Format: Text},
				{Name: "SANDBOX_SERVICE_URL", Format: URL},
				{Name: "NAP_INTERNAL_URL", Format: URL},
				{Name: "NAP_OAUTH_URL", Format: URL},
				{Name: "BROWSER_SERVICE_URL", Format: URL},
				{Name: "BROWSER_IMAGE", Format: ImageRef},
				{Name: "TURN_HOST", Format: Text},
				{Name: "TURN_PORT", Format: Text},
			},
			Migrations: "/app/browser-service/migrations",
			Writable:   []string{"/tmp"},
		},
		"coturn": {
			Writable: []string{"/tmp"},
		},
	}
}
