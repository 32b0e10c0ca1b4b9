package platform

// ModuleWorkloads are the services of the modules, which not every installation has.
func ModuleWorkloads() []Workload {
	return []Workload{
		{
			// It remembers who is about to log in.
			Name: "sandbox", Container: "sandbox", Image: "sandboxService",
			Port: 3006, ServicePort: 3006, Health: "/health",
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
			Rollout: Recreate, Pool: 10,
			Migrations: "/app/sandbox-service/migrations", Writable: []string{"/tmp"},
		},
	}
}

// ModuleImages are the images of the modules, beside Images.
func ModuleImages() []Image {
	return []Image{
		service("sandboxService", "nap-sandbox"),
		{Key: "pause", Registry: "registry.k8s.io", Repository: "pause", Tag: "3.9"},
		{Key: "node", Registry: "docker.io", Repository: "library/node", Tag: "22-bookworm"},
		{Key: "python", Registry: "docker.io", Repository: "library/python", Tag: "3.12-bookworm"},
		{Key: "golang", Registry: "docker.io", Repository: "library/golang", Tag: "1.23"},
	}
}

// ModuleFlows are the connections that the modules add to Flows.
func ModuleFlows() []Flow {
	return []Flow{
		{Anyone, "sandbox", 3006},
		{"sandbox", Database, 5432},
	}
}

// ModuleCouplings are the values that the modules must hold alike with each other and the core.
func ModuleCouplings() []Coupling {
	return []Coupling{
		{Members: []Member{{"cp", "WEB_PUBLIC_URL"}, {"sandbox", "NAP_OAUTH_URL"}},
			Otherwise: "log-in ends at another origin than it began"},
		{Members: []Member{{"cp", "SANDBOX_PUBLIC_URL"}, {"sandbox", "SANDBOX_SERVICE_URL"}},
			Otherwise: "users are sent where no sandbox answers"},
		{Members: []Member{{"cp", "CP_SERVICE_URL"}, {"sandbox", "NAP_URL"}},
			Otherwise: "the sandbox service calls something that is not the control plane"},
		{Members: []Member{{"cp", "DATABASE_URL"}, {"sandbox", "DATABASE_URL"}},
			Otherwise: "services work on different databases"},
	}
}
