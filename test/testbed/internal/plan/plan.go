// Package plan says what a testbed consists of: its parameters, its addresses and where its files are. Everything in
// it follows from a few settings, so each of the testbed's processes works it out for itself.
package plan

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	// Name tells the testbeds of a machine apart. Control groups, links and files carry it.
	Name string `json:"name"`
	// Range is the number of its addresses' range, below Ranges.
	Range int `json:"range"`
	// StateDir holds everything the testbed writes.
	StateDir string `json:"stateDir"`
	// Binaries maps a program's name to its path.
	Binaries map[string]string `json:"binaries"`
}

// NodeName is a node's. Each testbed has a node1.
func NodeName(node int) string { return fmt.Sprintf("node%d", node) }

// NodeNames lists the nodes.
func (c *Cluster) NodeNames() []string {
	var names []string
	for n := 1; n <= c.Nodes; n++ {
		names = append(names, NodeName(n))
	}
	return names
}

// Number is the number of the node called name.
func (c *Cluster) Number(name string) (int, error) {
	for n := 1; n <= c.Nodes; n++ {
		if NodeName(n) == name {
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

// names are those that fit into the name of a link, of 15 characters, and into paths.
var names = regexp.MustCompile(`^[a-z][a-z0-9-]{0,11}$`)

// ValidateName refuses a name that no testbed can have.
func ValidateName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a testbed: give up to 12 lower-case letters, digits and hyphens, a letter first", name)
	}
	return nil
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
