package netpolicy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"
)

func TestTransactionReplacesEverything(t *testing.T) {
	fake := knftables.NewFake(knftables.IPv4Family, table)
	for _, ruleset := range []Ruleset{
		{{Pod: "shop/old", Address: "10.0.1.9", Ingress: &Direction{}}},
		{
			{
				Pod: "shop/web", Address: "10.0.1.1",
				Ingress: &Direction{Rules: []Rule{{Addresses: []string{"10.0.1.2"}, Ports: []Port{{Protocol: "TCP", First: 80, Last: 80}}}}},
				Egress:  &Direction{},
			},
		},
	} {
		tx := fake.NewTransaction()
		transaction(tx, ruleset)
		if err := fake.Run(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	want := `add table ip neutree-network-policy { comment "NetworkPolicies of the testbed" ; }
add chain ip neutree-network-policy egress-10.0.1.1 { comment "shop/web" ; }
add chain ip neutree-network-policy forward { type filter hook forward priority 0 ; }
add chain ip neutree-network-policy ingress-10.0.1.1 { comment "shop/web" ; }
add chain ip neutree-network-policy input { type filter hook input priority 0 ; }
add map ip neutree-network-policy egress { type ipv4_addr : verdict ; }
add map ip neutree-network-policy ingress { type ipv4_addr : verdict ; }
add rule ip neutree-network-policy egress-10.0.1.1 ip saddr 10.0.1.1 ip daddr 10.0.1.1 return
add rule ip neutree-network-policy egress-10.0.1.1 counter drop
add rule ip neutree-network-policy forward ct state established,related accept
add rule ip neutree-network-policy forward ip saddr vmap @egress
add rule ip neutree-network-policy forward ip daddr vmap @ingress
add rule ip neutree-network-policy ingress-10.0.1.1 ip saddr 10.0.1.1 ip daddr 10.0.1.1 return
add rule ip neutree-network-policy ingress-10.0.1.1 ip saddr { 10.0.1.2 } tcp dport 80 return
add rule ip neutree-network-policy ingress-10.0.1.1 counter drop
add rule ip neutree-network-policy input ct state established,related accept
add rule ip neutree-network-policy input ip saddr vmap @egress
add element ip neutree-network-policy egress { 10.0.1.1 : jump egress-10.0.1.1 }
add element ip neutree-network-policy ingress { 10.0.1.1 : jump ingress-10.0.1.1 }
`
	if diff := cmp.Diff(want, strings.TrimLeft(fake.Dump(), "\n")); diff != "" {
		t.Errorf("nftables (-want +got):\n%s", diff)
	}
}

func TestLongNamesMakeShortComments(t *testing.T) {
	if got := len(*comment(strings.Repeat("x", 300))); got > knftables.CommentLengthMax {
		t.Errorf("a comment of %d characters", got)
	}
}
