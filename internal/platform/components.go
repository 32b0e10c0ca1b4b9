package platform

// Workload is one Deployment of the platform. What the tests hold the chart to besides is in test/contract.
type Workload struct {
	// Name is the Deployment's name. It follows the release's prefix unless Fixed is set.
	Name string
	// Fixed says that Name is complete: no prefix is put before it.
	Fixed bool
	// Container is the main container's name. Existing installations are patched by it, so it never changes.
	Container string
	// Image is the key of the image in Images.
	Image string
	// Port is the port that the container serves, 0 for none.
	Port int32
	// ServicePort is the port of the Service of the same name, 0 when there is no Service.
	ServicePort int32
	// Health is the path that answers when the process is up. Empty with a Port means that the port can
	// only be connected to; empty without one means that the service has nothing to ask.
	Health string
	// Rollout says whether an old and a new pod may run at the same time.
	Rollout Rollout
	// Pool is the largest number of database connections one pod opens, 0 when it uses none.
	Pool int
}

// FullName is the name of the workload's objects under a prefix.
func (w Workload) FullName(prefix string) string {
	if w.Fixed {
		return w.Name
	}
	return prefix + "-" + w.Name
}

// Rollout is how a workload's pods are replaced.
type Rollout int

const (
	// Recreate ends the old pod before the new one starts: two at once would do harm.
	Recreate Rollout = iota
	// Surge starts the new pod first, so that no request is lost.
	Surge
	// Either is for a service without state that users do not wait on.
	Either
)

// Workloads are the services of the core platform, in the order in which they may start.
func Workloads() []Workload {
	return []Workload{
		{
			Name: "cp", Container: "control-plane", Image: "controlPlane",
			Port: 3000, ServicePort: 3000, Health: "/healthz",
			Rollout: Surge, Pool: 35,
		},
		{
			Name: "cg", Container: "channel-gateway", Image: "gateway",
			Port: 3002, ServicePort: 3002, Health: "/health",
			Rollout: Surge, Pool: 10,
		},
		{
			Name: "skills", Container: "skills-content-service", Image: "skills",
			Port: 3008, ServicePort: 3008, Health: "/health",
			Rollout: Surge, Pool: 8,
		},
		{
			Name: "office-converter", Container: "gotenberg", Image: "officeConverter",
			Port: 3000, ServicePort: 3007, Health: "/health",
			Rollout: Either,
		},
		{
			// Its SQLite file has one writer.
			Name: "afs-controller", Fixed: true, Container: "afs-controller", Image: "afs",
			Port: 9100, ServicePort: 9100,
			Rollout: Recreate,
		},
		{
			// Two runners would both apply the same workspace.
			Name: "env-runner-k8s", Container: "env-runner-k8s", Image: "envRunner",
			Rollout: Recreate, Pool: 20,
		},
		{
			// Two schedulers would double the concurrency that each workspace allows.
			Name: "scheduler", Container: "scheduler", Image: "scheduler",
			Rollout: Recreate, Pool: 50,
		},
	}
}

// Names that the services' code holds and no environment variable changes.
const (
	// WorkspacePrefix starts the name of every object of a workspace.
	WorkspacePrefix = "tos-"
	// WorkspaceApp is the value of the label "app" on every object of a workspace.
	WorkspaceApp = "tos"
	// WorkspacePort is where the agent in a workspace listens.
	WorkspacePort = 3001
	// FuseConfigKey is the key that workspaces mount of the ConfigMap FuseConfig.
	FuseConfigKey = "fuse-server.toml"
)

// Names that the services can be told otherwise but that existing installations hold data under.
const (
	// SharedClaim is the volume that all workspaces share.
	SharedClaim = "afs-shared-storage"
	// FuseConfig is the ConfigMap that every workspace's AFS sidecar mounts.
	FuseConfig = "afs-fuse-config"
	// ControllerConfig is the ConfigMap of the AFS controller, with the key ControllerConfigKey.
	ControllerConfig = "afs-controller-config"
	// ControllerConfigKey is the file the AFS controller is started with.
	ControllerConfigKey = "controller.toml"
	// ControllerClaim holds the AFS controller's SQLite file.
	ControllerClaim = "afs-controller-db"
)
