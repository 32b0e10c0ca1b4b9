package cluster

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// Names of the network's links.
const (
	// hostPrefix begins the name of the host's end of a testbed's link to its hub, the only link of a testbed in the
	// host's network namespace. The testbed's name follows.
	hostPrefix = "tb-"
	hubLink    = "host0"
	bridge     = "br0"
	nodeLink   = "eth0"
)

func hostLink(testbed string) string { return hostPrefix + testbed }

func isHostLink(name string) bool { return strings.HasPrefix(name, hostPrefix) }

// network is the network namespace of the host, the hub or a node.
type network struct {
	*netlink.Handle
	ns netns.NsHandle
}

func openNetwork(pid int) (*network, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace of process %d: %w", pid, err)
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open the network namespace of process %d: %w", pid, err)
	}
	return &network{Handle: handle, ns: ns}, nil
}

func (n *network) close() {
	n.Handle.Close()
	n.ns.Close()
}

// up brings a link up, with an address if one is given.
func (n *network) up(name, address string, bits int) (netlink.Link, error) {
	link, err := n.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find the link %s: %w", name, err)
	}
	if address != "" {
		network := &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(bits, 32)}
		if err := n.AddrAdd(link, &netlink.Addr{IPNet: network}); err != nil {
			return nil, fmt.Errorf("give %s the address %s: %w", name, network, err)
		}
	}
	if err := n.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring %s up: %w", name, err)
	}
	return link, nil
}

// route sends what goes to a network by way of a gateway. A route that exists is left alone and reported: it could be
// that of another testbed.
func (n *network) route(to, via string) error {
	_, destination, err := net.ParseCIDR(to)
	if err != nil {
		return fmt.Errorf("route to %s: %w", to, err)
	}
	if err := n.RouteAdd(&netlink.Route{Dst: destination, Gw: net.ParseIP(via)}); err != nil {
		return fmt.Errorf("route %s by way of %s: %w", to, via, err)
	}
	return nil
}

// connectHub gives the hub its bridge and links it to the host.
func connectHub(c *plan.Cluster, hubPID int) error {
	hub, err := openNetwork(hubPID)
	if err != nil {
		return err
	}
	defer hub.close()
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open this network namespace: %w", err)
	}
	host := &network{Handle: &netlink.Handle{}, ns: here}
	defer here.Close()

	if _, err := hub.up("lo", "", 0); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = bridge
	if err := hub.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
		return fmt.Errorf("make the nodes' bridge: %w", err)
	}
	if _, err := hub.up(bridge, c.HubAddress(), plan.NodeBits); err != nil {
		return err
	}
	if _, err := hub.up(bridge, c.DNSAddress(), plan.NodeBits); err != nil {
		return err
	}
	for n := 1; n <= c.Nodes; n++ {
		if err := hub.route(c.PodCIDR(n), c.Address(n)); err != nil {
			return err
		}
	}
	if err := veth(host, hostLink(c.Name), hub, hubLink); err != nil {
		return err
	}
	if _, err := hub.up(hubLink, c.HubUplink(), plan.UplinkBits); err != nil {
		return err
	}
	if _, err := host.up(hostLink(c.Name), c.HostAddress(), plan.UplinkBits); err != nil {
		return err
	}
	return host.route(c.Network(), c.HubUplink())
}

// connectNode links a node to the hub's bridge.
func connectNode(c *plan.Cluster, hubPID, nodePID, n int) error {
	hub, err := openNetwork(hubPID)
	if err != nil {
		return err
	}
	defer hub.close()
	node, err := openNetwork(nodePID)
	if err != nil {
		return err
	}
	defer node.close()

	// A node that was there before may not be wholly gone yet.
	if err := removeFrom(hub.Handle, plan.NodeName(n)); err != nil {
		return err
	}
	if err := veth(hub, plan.NodeName(n), node, nodeLink); err != nil {
		return err
	}
	port, err := hub.up(plan.NodeName(n), "", 0)
	if err != nil {
		return err
	}
	master, err := hub.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find the nodes' bridge: %w", err)
	}
	if err := hub.LinkSetMaster(port, master); err != nil {
		return fmt.Errorf("plug %s into the nodes' bridge: %w", plan.NodeName(n), err)
	}
	if _, err := node.up("lo", "", 0); err != nil {
		return err
	}
	if _, err := node.up(nodeLink, c.Address(n), plan.NodeBits); err != nil {
		return err
	}
	if err := node.route("0.0.0.0/0", c.HubAddress()); err != nil {
		return err
	}
	for other := 1; other <= c.Nodes; other++ {
		if other == n {
			continue
		}
		if err := node.route(c.PodCIDR(other), c.Address(other)); err != nil {
			return err
		}
	}
	return nil
}

// veth makes a pair of links, one end in each of two namespaces.
func veth(one *network, oneName string, other *network, otherName string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = oneName
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: otherName, PeerNamespace: netlink.NsFd(other.ns)}
	if err := one.LinkAdd(pair); err != nil {
		return fmt.Errorf("link %s to %s: %w", oneName, otherName, err)
	}
	return nil
}

// removeLink removes the host's link to the hub, with its routes. The kernel does so too, but only some time after the
// hub's last process has ended, when its last connection has timed out.
func removeLink(testbed string) error {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open this network namespace: %w", err)
	}
	defer host.Close()
	return removeFrom(host, hostLink(testbed))
}

func removeFrom(handle *netlink.Handle, name string) error {
	link, err := handle.LinkByName(name)
	var notFound netlink.LinkNotFoundError
	if errors.As(err, &notFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the link %s: %w", name, err)
	}
	if err := handle.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the link %s: %w", name, err)
	}
	return nil
}
