// Package plan says what a testbed consists of: its parameters, its addresses and where its files lie. Everything in
// it follows from the parameters alone, so each of the testbed's processes works it out for itself.
package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Addresses lie in 198.18.0.0/15, which is set aside for tests of networks and so is nobody's own.
const (
	// Network holds every address of the testbed. The host has one route, for this.
	Network = "198.18.0.0/15"
	// HubAddress is the control plane's, in the nodes' network: API server and registry.
	HubAddress = "198.18.0.1"
	// DNSAddress is the name server's, of its own so that a policy can tell it from the API server.
	DNSAddress = "198.18.0.2"
	// HostAddress and HubUplink are the two ends of the link between host and hub.
	HostAddress = "198.18.1.1"
	HubUplink   = "198.18.1.2"
	// UplinkBits is that link's prefix length, NodeBits the nodes' network's.
	UplinkBits = 30
	NodeBits   = 24
	// PodNetwork holds each node's range of pod addresses.
	PodNetwork = "198.18.64.0/18"
	// ServiceNetwork holds the services' addresses, of which two are fixed.
	ServiceNetwork    = "198.18.128.0/18"
	KubernetesService = "198.18.128.1"
	DNSService        = "198.18.128.10"
	// APIPort and RegistryPort are the hub's.
	APIPort      = 6443
	RegistryPort = 5000

	// MaxNodes is how many nodes have a range of pod addresses.
	MaxNodes = 62
	// ClusterDomain is the suffix of the services' names.
	ClusterDomain = "cluster.local"
)

// Parameters are what a testbed is brought up with. A running one keeps its own until it is taken down.
type Parameters struct {
	// Nodes is how many nodes there are.
	Nodes int `json:"nodes"`
	// Kubernetes is the minor version, such as 1.34.
	Kubernetes string `json:"kubernetes"`
	// NetworkPolicies says whether they are enforced.
	NetworkPolicies bool `json:"networkPolicies"`
	// Audit says whether the API server keeps a log of who asked it for what.
	Audit bool `json:"audit,omitempty"`
}

// Cluster is the plan of one testbed.
type Cluster struct {
	Parameters `json:",inline"`
	// StateDir holds everything the testbed writes.
	StateDir string `json:"stateDir"`
	// Binaries maps a program's name to its path.
	Binaries map[string]string `json:"binaries"`
}

// Address is a node's, counted from 1.
func Address(node int) string { return fmt.Sprintf("198.18.0.%d", 10+node) }

// PodCIDR is the range of a node's pods.
func PodCIDR(node int) string { return fmt.Sprintf("198.18.%d.0/24", 64+node) }

// Gateway is the address that a node has among its pods.
func Gateway(node int) string {
	return netip.MustParsePrefix(PodCIDR(node)).Addr().Next().String()
}

// Name is a node's.
func Name(node int) string { return fmt.Sprintf("node%d", node) }

// Server is the address of the API server.
func Server() string { return fmt.Sprintf("https://%s:%d", HubAddress, APIPort) }

// Registry is the address of the registry.
func Registry() string { return fmt.Sprintf("%s:%d", HubAddress, RegistryPort) }

// NodeNames lists the nodes.
func (c *Cluster) NodeNames() []string {
	var names []string
	for n := 1; n <= c.Nodes; n++ {
		names = append(names, Name(n))
	}
	return names
}

// Number is the number of the node called name.
func (c *Cluster) Number(name string) (int, error) {
	for n := 1; n <= c.Nodes; n++ {
		if Name(n) == name {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no node is called %q: there are %v", name, c.NodeNames())
}

// Path is a path below the state directory.
func (c *Cluster) Path(elements ...string) string {
	return filepath.Join(append([]string{c.StateDir}, elements...)...)
}

// Member is the directory of the hub or of a node.
func (c *Cluster) Member(name string) string { return c.Path("members", name) }

// Log is where a unit of a member writes.
func (c *Cluster) Log(member, unit string) string {
	return c.Path("members", member, "log", unit+".log")
}

// PKI is the path of a certificate, key or kubeconfig.
func (c *Cluster) PKI(file string) string { return c.Path("pki", file) }

// Kubeconfig is the administrator's.
func (c *Cluster) Kubeconfig() string { return c.Path("kubeconfig") }

// Images is the list of images that the registry serves.
func (c *Cluster) Images() string { return c.Path("images.json") }

// file is where the plan itself is kept.
const file = "plan.json"

// Save writes the plan into its state directory.
func (c *Cluster) Save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return os.WriteFile(c.Path(file), append(data, '\n'), 0o644)
}

// Load reads the plan in a state directory.
func Load(stateDir string) (*Cluster, error) {
	data, err := os.ReadFile(filepath.Join(stateDir, file))
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	c := &Cluster{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("read the plan %s: %w", filepath.Join(stateDir, file), err)
	}
	return c, nil
}

// Validate refuses parameters that no testbed can have.
func (p Parameters) Validate(versions []string) error {
	if p.Nodes < 1 || p.Nodes > MaxNodes {
		return fmt.Errorf("%d nodes: give a number from 1 to %d", p.Nodes, MaxNodes)
	}
	for _, version := range versions {
		if p.Kubernetes == version {
			return nil
		}
	}
	return fmt.Errorf("no Kubernetes %q here: give one of %v", p.Kubernetes, versions)
}
