package plan

import (
	"fmt"
	"net/netip"
)

// Addresses are part of 198.18.0.0/15, which is reserved for tests of networks and so belongs to no real network. It is
// divided into ranges of 64 networks of 256 addresses, one range for each testbed of a machine.
const (
	// Reserved holds the addresses of all testbeds.
	Reserved = "198.18.0.0/15"
	// Ranges is how many testbeds of a machine have addresses.
	Ranges = 8
	// rangeBits is the prefix length of one testbed's range, rangeNetworks how many /24 networks it has.
	rangeBits     = 18
	rangeNetworks = 64

	// UplinkBits is the prefix length of the link between host and hub, NodeBits that of the nodes' network.
	UplinkBits = 30
	NodeBits   = 24
	podBits    = 20
	// serviceBits is the prefix length of the services' addresses.
	serviceBits = 19
	// APIPort and RegistryPort are the hub's.
	APIPort      = 6443
	RegistryPort = 5000

	// MaxNodes is how many nodes have a range of pod addresses.
	MaxNodes = 15
	// ClusterDomain is the suffix of the services' names.
	ClusterDomain = "cluster.local"
)

// The /24 networks of a testbed's range, by their number in it.
const (
	nodes    = 0
	uplink   = 1
	pods     = 16
	services = 32
)

// address is an address of the testbed: the host part in one of the /24 networks of its range.
func (c *Cluster) address(network, host int) string {
	number := c.Range*rangeNetworks + network
	return netip.AddrFrom4([4]byte{198, byte(18 + number/256), byte(number % 256), byte(host)}).String()
}

func (c *Cluster) prefix(network, bits int) string {
	return fmt.Sprintf("%s/%d", c.address(network, 0), bits)
}

// Network holds every address of the testbed. The host has one route, for this.
func (c *Cluster) Network() string { return c.prefix(nodes, rangeBits) }

// HubAddress is the control plane's, in the nodes' network: API server and registry.
func (c *Cluster) HubAddress() string { return c.address(nodes, 1) }

// DNSAddress is the name server's, of its own so that a policy can tell it from the API server.
func (c *Cluster) DNSAddress() string { return c.address(nodes, 2) }

// HostAddress is the host's end of the link between host and hub.
func (c *Cluster) HostAddress() string { return c.address(uplink, 1) }

// HubUplink is the hub's end of that link.
func (c *Cluster) HubUplink() string { return c.address(uplink, 2) }

// Address is a node's, counted from 1.
func (c *Cluster) Address(node int) string { return c.address(nodes, 10+node) }

// PodNetwork holds each node's range of pod addresses.
func (c *Cluster) PodNetwork() string { return c.prefix(pods, podBits) }

// PodCIDR is the range of a node's pods.
func (c *Cluster) PodCIDR(node int) string { return c.prefix(pods+node, NodeBits) }

// Gateway is the address that a node has among its pods.
func (c *Cluster) Gateway(node int) string { return c.address(pods+node, 1) }

// ServiceNetwork holds the services' addresses, of which two are fixed.
func (c *Cluster) ServiceNetwork() string { return c.prefix(services, serviceBits) }

// KubernetesService is the address of the API server's service.
func (c *Cluster) KubernetesService() string { return c.address(services, 1) }

// DNSService is the address of the name server's service.
func (c *Cluster) DNSService() string { return c.address(services, 10) }

// Server is the address of the API server.
func (c *Cluster) Server() string { return fmt.Sprintf("https://%s:%d", c.HubAddress(), APIPort) }

// Registry is the address of the registry.
func (c *Cluster) Registry() string { return fmt.Sprintf("%s:%d", c.HubAddress(), RegistryPort) }
