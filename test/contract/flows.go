package contract

import "github.com/neutree-ai/packaging/internal/platform"

// Flow is a connection inside the cluster that the platform needs: anything else is kept out.
type Flow struct {
	// From and To are the Name of a workload, or one of the peers below.
	From, To string
	// Port is the one that the pod listens on.
	Port int32
}

// Peers that are no workloads, besides the Jobs of package platform that use the database.
const (
	// Anyone is everybody inside and outside the cluster.
	Anyone = "anyone"
	// Workspaces are the pods that agents run in.
	Workspaces = "workspaces"
	// Database are the pods of PostgreSQL.
	Database = "database"
	// Operator is CloudNativePG's.
	Operator = "operator"
)

// Ports that are served to nobody: a profiler, terminals and file servers without a password, metrics.
var closedPorts = map[string][]int32{
	"cp":       {9090},
	Workspaces: {7681, 8000, 8001},
	Database:   {9187},
}

// ClosedPorts are the ports that the pods of a peer listen on and that nobody has business with.
func ClosedPorts(peer string) []int32 { return closedPorts[peer] }

// Flows are all connections between pods, and from users.
func Flows() []Flow {
	flows := []Flow{
		{Anyone, "cp", 3000},
		{Anyone, "cp", platform.TheFront().Port},
		{"cp", "cg", 3002},
		{"scheduler", "cg", 3002},
		{"cp", "skills", 3008},
		{"cp", "office-converter", 3000},
		{"cp", "afs-controller", 9100},
		{Workspaces, "afs-controller", 9100},
		{platform.Prepare, Database, 5432},
		{platform.Rollback, Database, 5432},
		{platform.Migrate, Database, 5432},
		{platform.Bootstrap, Database, 5432},
		{platform.Seed, Database, 5432},
		{platform.Test, Database, 5432},
		{Database, Database, 5432},
		{Database, Database, 8000},
		{Operator, Database, 5432},
		{Operator, Database, 8000},
	}
	for _, w := range platform.Workloads() {
		if w.Pool > 0 {
			flows = append(flows, Flow{w.Name, Database, 5432})
		}
	}
	for _, port := range []int32{platform.WorkspacePort, 9101, 9102} {
		flows = append(flows, Flow{"cp", Workspaces, port}, Flow{"env-runner-k8s", Workspaces, port})
	}
	return flows
}

// ModuleFlows are the connections that the modules add to Flows.
func ModuleFlows() []Flow {
	return []Flow{
		{Anyone, "sandbox", 3006},
		{"sandbox", Database, 5432},
		{Anyone, "browser", 3005},
		{"browser", Database, 5432},
		{Anyone, "coturn", platform.TurnPort},
	}
}

// CallsNobody are the workloads that open no connection at all.
func CallsNobody() []string { return []string{"office-converter", "afs-controller"} }
