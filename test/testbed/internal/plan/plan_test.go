package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddressesDoNotCollide(t *testing.T) {
	reserved := netip.MustParsePrefix(Reserved)
	var ranges []netip.Prefix
	for r := range Ranges {
		c := &Cluster{Range: r}
		all := netip.MustParsePrefix(c.Network())
		if !reserved.Contains(all.Addr()) || all != all.Masked() {
			t.Errorf("range %d is %s", r, all)
		}
		for _, other := range ranges {
			if all.Overlaps(other) {
				t.Errorf("%s and %s overlap", all, other)
			}
		}
		ranges = append(ranges, all)
		addressesOf(t, c, all)
	}
}

func addressesOf(t *testing.T, c *Cluster, all netip.Prefix) {
	t.Helper()
	nodes := netip.PrefixFrom(netip.MustParseAddr(c.HubAddress()), NodeBits).Masked()
	pods := netip.MustParsePrefix(c.PodNetwork())
	services := netip.MustParsePrefix(c.ServiceNetwork())
	uplink := netip.PrefixFrom(netip.MustParseAddr(c.HostAddress()), UplinkBits).Masked()
	networks := []netip.Prefix{nodes, pods, services, uplink}
	for i, one := range networks {
		if !all.Overlaps(one) || one.Bits() < all.Bits() || one != one.Masked() {
			t.Errorf("%s lies outside %s", one, all)
		}
		for _, other := range networks[i+1:] {
			if one.Overlaps(other) {
				t.Errorf("%s and %s overlap", one, other)
			}
		}
	}
	for _, service := range []string{c.KubernetesService(), c.DNSService()} {
		if !services.Contains(netip.MustParseAddr(service)) {
			t.Errorf("service address %s lies outside %s", service, services)
		}
	}
	seen := map[string]bool{c.HubAddress(): true, c.DNSAddress(): true}
	for n := 1; n <= MaxNodes; n++ {
		if !nodes.Contains(netip.MustParseAddr(c.Address(n))) || seen[c.Address(n)] {
			t.Errorf("node %d has the address %s", n, c.Address(n))
		}
		seen[c.Address(n)] = true
		cidr := netip.MustParsePrefix(c.PodCIDR(n))
		if !pods.Contains(cidr.Addr()) || seen[c.PodCIDR(n)] || !cidr.Contains(netip.MustParseAddr(c.Gateway(n))) {
			t.Errorf("node %d has the pod addresses %s", n, cidr)
		}
		seen[c.PodCIDR(n)] = true
	}
	if !uplink.Contains(netip.MustParseAddr(c.HubUplink())) {
		t.Errorf("%s is not in %s", c.HubUplink(), uplink)
	}
}

func TestValidateName(t *testing.T) {
	for name, good := range map[string]bool{
		"default": true, "t1": true, "a-b": true, "twelve-chars": true,
		"": false, "1a": false, "thirteen-char": false, "A": false, "..": false, "a/b": false, "a b": false,
	} {
		if err := ValidateName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	versions := []string{"1.34", "1.28"}
	for name, test := range map[string]struct {
		parameters Parameters
		want       string
	}{
		"good":             {Parameters{Nodes: 3, Kubernetes: "1.28"}, ""},
		"no nodes":         {Parameters{Nodes: 0, Kubernetes: "1.34"}, "0 nodes: give a number from 1 to 15"},
		"too many nodes":   {Parameters{Nodes: 16, Kubernetes: "1.34"}, "16 nodes: give a number from 1 to 15"},
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
		Name: "second", Range: 1,
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
