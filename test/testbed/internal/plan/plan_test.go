package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddressesDoNotCollide(t *testing.T) {
	all := netip.MustParsePrefix(Network)
	nodes := netip.MustParsePrefix("198.18.0.0/24")
	pods := netip.MustParsePrefix(PodNetwork)
	services := netip.MustParsePrefix(ServiceNetwork)
	uplink := netip.PrefixFrom(netip.MustParseAddr(HostAddress), UplinkBits).Masked()
	networks := []netip.Prefix{nodes, pods, services, uplink}
	for i, one := range networks {
		if !all.Overlaps(one) || one.Bits() < all.Bits() {
			t.Errorf("%s lies outside %s", one, all)
		}
		for _, other := range networks[i+1:] {
			if one.Overlaps(other) {
				t.Errorf("%s and %s overlap", one, other)
			}
		}
	}
	for _, service := range []string{KubernetesService, DNSService} {
		if !services.Contains(netip.MustParseAddr(service)) {
			t.Errorf("service address %s lies outside %s", service, services)
		}
	}
	seen := map[string]bool{HubAddress: true, DNSAddress: true}
	for n := 1; n <= MaxNodes; n++ {
		if !nodes.Contains(netip.MustParseAddr(Address(n))) || seen[Address(n)] {
			t.Errorf("node %d has the address %s", n, Address(n))
		}
		seen[Address(n)] = true
		cidr := netip.MustParsePrefix(PodCIDR(n))
		if !pods.Contains(cidr.Addr()) || seen[PodCIDR(n)] {
			t.Errorf("node %d has the pod addresses %s", n, cidr)
		}
		seen[PodCIDR(n)] = true
	}
	if !uplink.Contains(netip.MustParseAddr(HubUplink)) {
		t.Errorf("%s is not in %s", HubUplink, uplink)
	}
}

func TestValidate(t *testing.T) {
	versions := []string{"1.34", "1.28"}
	for name, test := range map[string]struct {
		parameters Parameters
		want       string
	}{
		"good":             {Parameters{Nodes: 3, Kubernetes: "1.28"}, ""},
		"no nodes":         {Parameters{Nodes: 0, Kubernetes: "1.34"}, "0 nodes: give a number from 1 to 62"},
		"too many nodes":   {Parameters{Nodes: 63, Kubernetes: "1.34"}, "63 nodes: give a number from 1 to 62"},
		"unknown version":  {Parameters{Nodes: 1, Kubernetes: "1.99"}, `no Kubernetes "1.99" here: give one of [1.34 1.28]`},
		"version too long": {Parameters{Nodes: 1, Kubernetes: "1.34.4"}, `no Kubernetes "1.34.4" here: give one of [1.34 1.28]`},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := test.parameters.Validate(versions); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPlanSurvivesItsFile(t *testing.T) {
	c := &Cluster{
		Parameters: Parameters{Nodes: 2, Kubernetes: "1.34", NetworkPolicies: true},
		StateDir:   t.TempDir(),
		Binaries:   map[string]string{"kubelet": "/somewhere/kubelet"},
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := Load(c.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("the plan changed in its file (-saved +loaded):\n%s", diff)
	}
}

func TestNumber(t *testing.T) {
	c := &Cluster{Parameters: Parameters{Nodes: 2}}
	if n, err := c.Number("node2"); n != 2 || err != nil {
		t.Errorf("node2: got %d, %v", n, err)
	}
	_, err := c.Number("node3")
	if err == nil || !strings.Contains(err.Error(), `no node is called "node3": there are [node1 node2]`) {
		t.Errorf("node3: got %v", err)
	}
}
