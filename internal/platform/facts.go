package platform

import "slices"

// Facts is what the chart's templates know about the platform. hack/facts writes it into the library chart, so that
// each number and each list is defined once, in this package.
type Facts struct {
	// MigrationSources are in the order in which they are applied.
	MigrationSources []SourceFacts `json:"migrationSources"`
	// Order lists the services in the order in which they may start.
	Order []string `json:"order"`
	// Services are the workloads, by name without the prefix.
	Services map[string]ServiceFacts `json:"services"`
	// HookJobs are the Jobs besides the services.
	HookJobs []HookJob `json:"hookJobs"`
	// ReservedConnections are those to the database that no service opens.
	ReservedConnections int           `json:"reservedConnections"`
	Operator            OperatorFacts `json:"operator"`
	Database            DatabasePorts `json:"database"`
	Workspaces          WorkspacePods `json:"workspaces"`
	// Internet is what is not the cluster's own network, or another private one.
	Internet []AddressRange `json:"internet"`
	// ButMetadata is everything but the metadata services of clouds, one range for each IP family.
	ButMetadata []AddressRange `json:"butMetadata"`
	// RuntimeImages are pulled at run time.
	RuntimeImages []RuntimeImage `json:"runtimeImages"`
	// AMD64Only are the images, each repository:tag, that were published for amd64 alone.
	AMD64Only []string `json:"amd64Only"`
	// ClosedPaths of the control plane are for workspaces and services, some without any password.
	ClosedPaths []string `json:"closedPaths"`
	// RemotePaths of the control plane are for environments outside the cluster.
	RemotePaths []string `json:"remotePaths"`
	Front       Front    `json:"front"`
}

// Front is the container in the control plane's pods by which users reach public paths alone, on a node port.
type Front struct {
	// Name is that of the container, and of the Service behind the prefix.
	Name     string `json:"name"`
	PortName string `json:"portName"`
	Port     int32  `json:"port"`
}

// TheFront is that container.
func TheFront() Front { return Front{Name: "front", PortName: "public", Port: 3080} }

// RemotePaths are the paths of the control plane that environments outside the cluster use, with all that is below them.
func RemotePaths() []string { return []string{"/env/v1", "/env-gateway"} }

// ClosedPaths are the paths of the control plane that no public address may lead to, with all that is below them.
// Workspaces and services of v0.2.0 use /_cp, later ones use /workspace/v1 and /svc/v1.
func ClosedPaths() []string { return []string{"/mcp", "/metrics", "/_cp", "/workspace/v1", "/svc/v1"} }

// SourceFacts is a MigrationSource as the chart needs it.
type SourceFacts struct {
	Name   string `json:"name"`
	Image  string `json:"image"`
	Folder string `json:"folder"`
}

// ServiceFacts is a Workload and its Run as the chart needs them. What is false or zero is left out.
type ServiceFacts struct {
	Run
	FixedName   bool   `json:"fixedName,omitempty"`
	Container   string `json:"container"`
	Image       string `json:"image"`
	Port        int32  `json:"port,omitempty"`
	ServicePort int32  `json:"servicePort,omitempty"`
	Health      string `json:"health,omitempty"`
	Surge       bool   `json:"surge,omitempty"`
	Connections int    `json:"connections,omitempty"`
	// Migrations is the name of the MigrationSource in its image.
	Migrations string `json:"migrations,omitempty"`
}

// Run is how the chart runs a workload, with the reasons.
type Run struct {
	// Component is the value of the label app.kubernetes.io/component.
	Component string `json:"component"`
	// Module is the key under global.modules that switches it on, empty for the core. "coturn" is no such key: the
	// values of the browser chart switch the TURN server on.
	Module string `json:"module,omitempty"`
	// PortName is the name of its port.
	PortName string `json:"portName,omitempty"`
	// NodePort is the key under global.exposure.nodePorts, empty for a service that users do not reach.
	NodePort string `json:"nodePort,omitempty"`
	// Replace is why two pods must not run at once, or empty.
	Replace string `json:"replace,omitempty"`
	// Start is how long it may take until it answers, before it is started again.
	Start *Limit `json:"start,omitempty"`
	// Grace is how long it has to end; Kubernetes gives 30 seconds.
	Grace *Limit `json:"grace,omitempty"`
	// StopCommand makes a process end that does not listen for SIGTERM.
	StopCommand *Command `json:"stopCommand,omitempty"`
	// AwaitsControlPlane says that it starts after the control plane answers.
	AwaitsControlPlane bool `json:"awaitsControlPlane,omitempty"`
	// KubernetesAPI says that its pods get a token.
	KubernetesAPI bool `json:"kubernetesAPI,omitempty"`
	// TrustedCAs says that it is a Node service that calls others, and reads the user's CA certificates.
	TrustedCAs bool `json:"trustedCAs,omitempty"`
	// Proxy says whether its calls out of the cluster can go through a proxy, and what makes them do so.
	Proxy Proxy `json:"proxy,omitempty"`
	// User is the uid that its image is made for, 0 for any.
	User int64 `json:"user,omitempty"`
	// WritableRoot is why its root file system is not read-only, or empty.
	WritableRoot string `json:"writableRoot,omitempty"`
	// Capability is the one that it needs, and why.
	Capability *Capability `json:"capability,omitempty"`
	// Cache is a folder that it fills up to a limit.
	Cache *Cache `json:"cache,omitempty"`
}

// Proxy is how a service learns of a proxy.
type Proxy string

// A service that has neither calls nothing outside the cluster by HTTP but the platform's own addresses.
const (
	// ReadsProxy is a program that reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY itself.
	ReadsProxy Proxy = "reads"
	// NodeProxy is a program for which Node.js, from 22.21 on, reads them, if NODE_USE_ENV_PROXY is 1.
	NodeProxy Proxy = "node"
)

// WithoutProxy are the calls out of the cluster that no proxy can be named for: what calls, and what to do about it.
func WithoutProxy() []string {
	return []string{
		"agents in workspaces, since the platform passes no such variables to them: open the way to models and Git servers",
		"WebSockets and AWS SQS of the channel gateway (Slack, WeCom): open the way to them",
		"LDAP of the control plane: open the way to the server",
		"image pulls of nodes: name the proxy in the container runtime",
		"sandboxes and browsers, which OpenSandbox starts: name the proxy there",
	}
}

// Limit is a time limit and its reason.
type Limit struct {
	Seconds int    `json:"seconds"`
	Why     string `json:"why,omitempty"`
}

// Command is a command line and its reason.
type Command struct {
	Command []string `json:"command"`
	Why     string   `json:"why"`
}

// Capability is a Linux capability and its reason.
type Capability struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Cache is a folder in a volume of its own.
type Cache struct {
	Volume string `json:"volume"`
	Path   string `json:"path"`
}

const noSIGTERM = "It does not listen to SIGTERM, so longer would only be a longer gap."

// Runs are how the chart runs each workload, by its Name.
func Runs() map[string]Run {
	return map[string]Run{
		"cp": {
			Component: "control-plane", PortName: "http", NodePort: "web", KubernetesAPI: true, TrustedCAs: true,
			Proxy: ReadsProxy,
			Start: &Limit{25, "It waits for the database in its init container, so one that does not listen by now lost it while it " +
				"started: it never will, and lives on all the same."},
			// Streams get five seconds to end, after five in which nodes still send to the pod.
			Grace: &Limit{Seconds: 40},
		},
		"cg": {
			Component: "channel-gateway", PortName: "http", AwaitsControlPlane: true, TrustedCAs: true, Proxy: NodeProxy,
			Start: &Limit{Seconds: 120},
			Grace: &Limit{Seconds: 40},
		},
		"skills": {
			Component: "skills", PortName: "http", AwaitsControlPlane: true, TrustedCAs: true, Proxy: NodeProxy,
			Start: &Limit{Seconds: 120},
			Cache: &Cache{Volume: "dufs-cache", Path: "/var/cache/skills-content"},
		},
		"office-converter": {
			Component: "office-converter", PortName: "http", User: 1001,
			Start:        &Limit{Seconds: 120},
			WritableRoot: "LibreOffice and Chromium keep their profiles in several places.",
		},
		"afs-controller": {
			Component: "afs-controller", PortName: "grpc",
			Replace: "SQLite has one writer: two pods on one file could destroy it.",
			Grace: &Limit{5,
				"It does not listen for the signal to stop, so waiting longer would only keep its successor from starting."},
		},
		"env-runner-k8s": {
			Component: "environment-runner", KubernetesAPI: true, AwaitsControlPlane: true,
			Replace: "Two runners would both apply every change.",
		},
		"scheduler": {
			Component: "scheduler", AwaitsControlPlane: true, TrustedCAs: true, Proxy: NodeProxy,
			Replace: "Two schedulers at once would run twice as many jobs as their limits say.",
			// Jobs get time to finish.
			Grace: &Limit{Seconds: 45},
			StopCommand: &Command{[]string{"node", "-e", "process.kill(1, 'SIGINT')"},
				"It finishes its jobs on SIGINT only, and its image has no kill."},
		},
		"sandbox": {
			Component: "sandbox", Module: "sandbox", PortName: "http", NodePort: "sandbox", TrustedCAs: true,
			Replace: "Who is about to log in it remembers in memory.",
			Start:   &Limit{Seconds: 120},
			Grace:   &Limit{5, noSIGTERM},
		},
		"browser": {
			Component: "browser", Module: "browser", PortName: "http", NodePort: "browser", TrustedCAs: true,
			Replace: "Who is about to log in, and which browsers are ready, it remembers in memory.",
			Start:   &Limit{Seconds: 120},
			Grace:   &Limit{5, noSIGTERM},
		},
		"coturn": {
			Component: "coturn", Module: "coturn", PortName: "turn", User: 65534,
			Replace:    "On its node's network two pods would want the same port.",
			Grace:      &Limit{Seconds: 10},
			Capability: &Capability{"NET_BIND_SERVICE", "The program's file asks for it, and without it is not executed."},
		},
	}
}

// HookJob is a Job that the chart runs besides the services.
type HookJob struct {
	// Name is the Job's name without the prefix.
	Name string `json:"name"`
	// Component is the value of the label app.kubernetes.io/component.
	Component string `json:"component"`
	// Awaited says that a Helm client waits for it, or for a Job that starts it.
	Awaited bool `json:"awaited,omitempty"`
	// Database says that its pods open connections to the database.
	Database bool `json:"database,omitempty"`
	// Stays says that it is no hook of Helm's: one that failed stays for its log.
	Stays bool `json:"stays,omitempty"`
	// Upgrades says that an upgrade runs it, so that whatever follows a cancelled one has to stop it first.
	Upgrades bool `json:"upgrades,omitempty"`
}

// Components of the Jobs that use the database.
const (
	Prepare   = "prepare"
	Rollback  = "rollback"
	Migrate   = "migrate"
	Bootstrap = "bootstrap"
	Backup    = "backup"
	// BackupOfBootstrap is the Job by which bootstrap saves a database before it migrates it.
	BackupOfBootstrap = "backup-bootstrap"
	Seed              = "seed"
	Test              = "test"
	// ScheduledBackup is the component of the Jobs of a CronJob, which no hook runs and no Helm client waits for.
	ScheduledBackup = "scheduled-backup"
)

// HookJobs are the Jobs besides the services.
func HookJobs() []HookJob {
	return []HookJob{
		{Name: "guard", Component: "guard", Awaited: true, Upgrades: true},
		{Name: Prepare, Component: Prepare, Awaited: true, Database: true, Upgrades: true},
		{Name: Rollback, Component: Rollback, Awaited: true, Database: true},
		{Name: "pull", Component: "pull", Awaited: true, Stays: true, Upgrades: true},
		{Name: Migrate, Component: Migrate, Awaited: true, Database: true, Stays: true, Upgrades: true},
		// A part of the release, which outlives the Helm client.
		{Name: Bootstrap, Component: Bootstrap, Database: true, Upgrades: true},
		{Name: Seed, Component: Seed, Awaited: true, Database: true, Upgrades: true},
		{Name: "rebuild", Component: "rebuild", Awaited: true, Upgrades: true},
		// A test of a release that is not pending.
		{Name: Test, Component: Test, Database: true},
		{Name: Backup, Component: Backup, Awaited: true, Database: true, Stays: true, Upgrades: true},
		// The same pods as those of a backup, with the same label. Bootstrap's is another one than that of an upgrade which
		// is tried again meanwhile: each would delete the other's.
		{Name: BackupOfBootstrap, Component: Backup, Stays: true},
		{Name: "restore", Component: Backup, Stays: true},
		// What helm neutree secrets rotate runs.
		{Name: "rotate", Component: "rotate", Database: true, Stays: true},
		{Name: "teardown", Component: "teardown", Awaited: true},
		{Name: "delete", Component: "delete", Awaited: true},
	}
}

// HookComponents are the components of the Jobs that a Helm client waits for, and of those that these start.
func HookComponents() []string {
	var components []string
	for _, job := range HookJobs() {
		if job.Awaited {
			components = append(components, job.Component)
		}
	}
	return components
}

// ReservedConnections are those that a seed Job opens, which are as many as a control plane's, and eight of the operator
// and the hooks.
const ReservedConnections = 35 + 8

// OperatorFacts are what the chart knows about CloudNativePG.
type OperatorFacts struct {
	// Kubernetes is the oldest version that it is tested with.
	Kubernetes string `json:"kubernetes"`
	// Lease is the one of its leader election.
	Lease string `json:"lease"`
	// ClusterCRD is the CustomResourceDefinition of its Clusters, and CRDs are all of them.
	ClusterCRD string   `json:"clusterCRD"`
	CRDs       []string `json:"crds"`
	// Metrics is the port of its metrics.
	Metrics int32 `json:"metrics"`
	// FixedParameters are the settings of PostgreSQL that it admits from no one.
	FixedParameters []string `json:"fixedParameters"`
}

func operatorFacts() OperatorFacts {
	return OperatorFacts{
		Kubernetes: OperatorKubernetes, Lease: "db9c8771.cnpg.io", ClusterCRD: "clusters.postgresql.cnpg.io",
		CRDs: operatorCRDs(), Metrics: 8080, FixedParameters: fixedParameters,
	}
}

// operatorCRDs are the CustomResourceDefinitions that the operator of OperatorImage brings.
func operatorCRDs() []string {
	var names []string
	for _, kind := range []string{"backups", "clusterimagecatalogs", "clusters", "databaseroles", "databases",
		"failoverquorums", "imagecatalogs", "poolers", "publications", "scheduledbackups", "subscriptions"} {
		names = append(names, kind+".postgresql.cnpg.io")
	}
	return names
}

// DatabasePorts are the ports of the pods of PostgreSQL, and its image.
type DatabasePorts struct {
	Port int32 `json:"port"`
	// Status is where instances and operator ask for an instance's state.
	Status  int32 `json:"status"`
	Metrics int32 `json:"metrics"`
	// Image is the repository and the tag that the chart names by itself.
	Image string `json:"image"`
}

// WorkspacePods are what the chart knows about the pods of workspaces.
type WorkspacePods struct {
	// App is the value of their label "app".
	App string `json:"app"`
	// Ports are those of the agent, and of the mounts of its files and of its memory.
	Agent  int32 `json:"agent"`
	Files  int32 `json:"files"`
	Memory int32 `json:"memory"`
}

// RuntimeImage is an image that no container of the release names: a service starts pods with it.
type RuntimeImage struct {
	// Image is the key under global.images.
	Image string `json:"image"`
	// Variable is how services are told about it.
	Variable string `json:"variable"`
	// In is where it runs.
	In string `json:"in"`
}

// RuntimeImages are pulled at run time. The image of an agent gets a dash and one of AgentTypes added to its name.
func RuntimeImages() []RuntimeImage {
	return []RuntimeImage{
		{Image: "agent", Variable: "AGENT_IMAGE_PREFIX", In: "workspaces"},
		{Image: "afs", Variable: "AFS_IMAGE", In: "workspaces"},
		{Image: "memoryFuse", Variable: "MEMORY_FUSE_IMAGE", In: "workspaces"},
		{Image: "chromium", Variable: "BROWSER_IMAGE", In: "sandboxes"},
	}
}

// imageOf is the image of a key in Images.
func imageOf(key string) Image {
	images := Images()
	return images[slices.IndexFunc(images, func(i Image) bool { return i.Key == key })]
}

// ChartFacts are the facts that the chart's templates read.
func ChartFacts() Facts {
	postgresql := imageOf("postgresql")
	facts := Facts{
		Services: map[string]ServiceFacts{}, HookJobs: HookJobs(), ReservedConnections: ReservedConnections,
		Operator:      operatorFacts(),
		Database:      DatabasePorts{Port: 5432, Status: 8000, Metrics: 9187, Image: postgresql.Repository + ":" + postgresql.Tag},
		Workspaces:    WorkspacePods{App: WorkspaceApp, Agent: WorkspacePort, Files: 9101, Memory: 9102},
		Internet:      Internet(),
		ButMetadata:   ButMetadata(),
		RuntimeImages: RuntimeImages(),
	}
	for repository, tag := range amd64Only {
		facts.AMD64Only = append(facts.AMD64Only, repository+":"+tag)
	}
	slices.Sort(facts.AMD64Only)
	facts.ClosedPaths, facts.RemotePaths, facts.Front = ClosedPaths(), RemotePaths(), TheFront()
	sources := map[string]string{}
	for _, source := range MigrationSources() {
		facts.MigrationSources = append(facts.MigrationSources, SourceFacts{source.Name, source.ImageKey, source.Dir})
		sources[source.ImageKey] = source.Name
	}
	runs := Runs()
	for _, w := range slices.Concat(Workloads(), ModuleWorkloads()) {
		facts.Order = append(facts.Order, w.Name)
		facts.Services[w.Name] = ServiceFacts{
			FixedName: w.Fixed, Container: w.Container, Image: w.Image,
			Port: w.Port, ServicePort: w.ServicePort, Health: w.Health,
			Surge: w.Rollout != Recreate, Connections: w.Pool, Migrations: sources[w.Image],
			Run: runs[w.Name],
		}
	}
	return facts
}
