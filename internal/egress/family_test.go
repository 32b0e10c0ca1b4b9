package egress

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLimitTo(t *testing.T) {
	const rules = `
  egress:
    - to: [{podSelector: {matchLabels: {app: cp}}}]
      ports: [{port: 8080}]
    - to: [{ipBlock: {cidr: 169.254.20.10/32}}, {ipBlock: {cidr: "fd00::10/128"}}]
    - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}, {ipBlock: {cidr: "::/0", except: ["fc00::/7"]}}]
    - to: [{ipBlock: {cidr: 10.1.2.3/32}}]
    - to: [{ipBlock: {cidr: "fd12::3/128"}}]
    - ports: [{port: 9}]
`
	const four, six = "169.254.20.10/32 0.0.0.0/0 10.1.2.3/32", "fd00::10/128 ::/0 fd12::3/128"
	for name, c := range map[string]struct {
		podIPs, service string
		removed         string
		rules           int
		v4, v6          bool
	}{
		"IPv4":                             {"10.244.0.7", "10.96.0.1", six, 5, true, false},
		"IPv6":                             {"fd00:10:244::7", "fd00:10:96::1", four, 5, false, true},
		"both":                             {"10.244.0.7,fd00:10:244::7", "10.96.0.1", "", 6, true, true},
		"both, IPv6 first":                 {"fd00:10:244::7, 10.244.0.7", "[fd00:10:96::1]", "", 6, true, true},
		"pods of one, Services of another": {"10.244.0.7", "fd00:10:96::1", "", 6, true, true},
		"not known":                        {"", "10.96.0.1", "", 6, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			policy := policyOf(t, rules)
			families := FamiliesOf(c.podIPs, c.service)
			removed := strings.Join(LimitTo(policy, families), " ")
			if diff := cmp.Diff(c.removed, removed); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
			if len(policy.Spec.Egress) != c.rules {
				t.Errorf("%d rules, want %d: %v", len(policy.Spec.Egress), c.rules, policy.Spec.Egress)
			}
			for to, want := range map[string]bool{
				"8.8.8.8:443": c.v4, "10.1.2.3:443": c.v4, "10.9.9.9:443": false,
				"[2606::1]:443": c.v6, "[fd12::3]:443": c.v6, "[fd99::1]:443": false,
			} {
				if got := Allows(policy, netip.MustParseAddrPort(to), "TCP"); got != want {
					t.Errorf("%s is allowed: %t, want %t", to, got, want)
				}
			}
			for address, want := range map[string]bool{"8.8.8.8": c.v4, "::ffff:8.8.8.8": c.v4, "2606::1": c.v6} {
				if got := families.Have(netip.MustParseAddr(address)); got != want {
					t.Errorf("pods have addresses like %s: %t, want %t", address, got, want)
				}
			}
		})
	}
}
