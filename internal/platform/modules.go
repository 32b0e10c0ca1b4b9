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
		{
			// It remembers who is about to log in, and which browsers are ready.
			Name: "browser", Container: "browser", Image: "browserService",
			Port: 3005, ServicePort: 3005, Health: "/health",
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
			Rollout: Recreate, Pool: 10,
			Migrations: "/app/browser-service/migrations", Writable: []string{"/tmp"},
		},
		{
			// On its node's network two would want the same port.
			Name: "coturn", Fixed: true, Container: "coturn", Image: "coturn",
			Port: TurnPort, ServicePort: TurnPort,
			Rollout: Recreate, Writable: []string{"/tmp"},
		},
	}
}

// TurnPort is where the relay listens. The browser service is told it, and nothing else can be.
const TurnPort = 3478

// ModuleImages are the images of the modules, beside Images.
func ModuleImages() []Image {
	return []Image{
		service("sandboxService", "nap-sandbox"),
		service("browserService", "nap-browser"),
		// Its newest release.
		{Key: "chromium", Registry: "ghcr.io", Repository: servicesRepo + "chromium-headful", Tag: "v0.1.0"},
		{Key: "coturn", Registry: "docker.io", Repository: "coturn/coturn", Tag: "4.6.2"},
		{Key: "pause", Registry: "registry.k8s.io", Repository: "pause", Tag: "3.9"},
		{Key: "node", Registry: "docker.io", Repository: "library/node", Tag: "22-bookworm"},
		{Key: "python", Registry: "docker.io", Repository: "library/python", Tag: "3.12-bookworm"},
		{Key: "golang", Registry: "docker.io", Repository: "library/golang", Tag: "1.23"},
	}
}

// OpenSandboxImage is the server that runs sandboxes, which the chart does not install.
var OpenSandboxImage = Image{Key: "openSandbox", Registry: "docker.io", Repository: "opensandbox/server", Tag: "v0.1.14"}

// ModuleFlows are the connections that the modules add to Flows.
func ModuleFlows() []Flow {
	return []Flow{
		{Anyone, "sandbox", 3006},
		{"sandbox", Database, 5432},
		{Anyone, "browser", 3005},
		{"browser", Database, 5432},
		{Anyone, "coturn", TurnPort},
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
		{Members: []Member{{"cp", "WEB_PUBLIC_URL"}, {"browser", "NAP_OAUTH_URL"}},
			Otherwise: "log-in ends at another origin than it began"},
		{Members: []Member{{"cp", "BROWSER_PUBLIC_URL"}, {"browser", "BROWSER_SERVICE_URL"}},
			Otherwise: "users are sent where no browser answers"},
		{Members: []Member{{"cp", "SANDBOX_SERVICE_URL"}, {"browser", "SANDBOX_SERVICE_URL"}},
			Otherwise: "no browser is ever made"},
		{Members: []Member{{"sandbox", "SERVICE_KEY"}, {"browser", "SANDBOX_SERVICE_KEY"}},
			Otherwise: "no browser is ever made: the sandbox service answers 401"},
		{Members: []Member{{"cp", "DATABASE_URL"}, {"sandbox", "DATABASE_URL"}, {"browser", "DATABASE_URL"}},
			Otherwise: "services work on different databases"},
	}
}
