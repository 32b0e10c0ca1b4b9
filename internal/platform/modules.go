package platform

// ModuleWorkloads are the services of the modules, which not every installation has.
func ModuleWorkloads() []Workload {
	return []Workload{
		{
			// It remembers who is about to log in.
			Name: "sandbox", Container: "sandbox", Image: "sandboxService",
			Port: 3006, ServicePort: 3006, Health: "/health",
			Rollout: Recreate, Pool: 10,
		},
		{
			// It remembers who is about to log in, and which browsers are ready.
			Name: "browser", Container: "browser", Image: "browserService",
			Port: 3005, ServicePort: 3005, Health: "/health",
			Rollout: Recreate, Pool: 10,
		},
		{
			// On its node's network two would want the same port.
			Name: "coturn", Fixed: true, Container: "coturn", Image: "coturn",
			Port: TurnPort, ServicePort: TurnPort,
			Rollout: Recreate,
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
