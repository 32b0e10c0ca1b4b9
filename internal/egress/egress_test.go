package egress

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/platform"
)

func policyOf(t *testing.T, rules string) *networkingv1.NetworkPolicy {
	t.Helper()
	policy := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict([]byte("spec:\n  policyTypes: [Egress]\n"+rules), policy); err != nil {
		t.Fatal(err)
	}
	return policy
}

func TestInternet(t *testing.T) {
	policy := policyOf(t, "")
	rule := networkingv1.NetworkPolicyEgressRule{}
	for _, each := range platform.Internet() {
		block := &networkingv1.IPBlock{CIDR: each.CIDR, Except: each.Except}
		rule.To = append(rule.To, networkingv1.NetworkPolicyPeer{IPBlock: block})
	}
	policy.Spec.Egress = append(policy.Spec.Egress, rule)
	for address, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.32.0.1": true, "100.128.0.1": true, "192.0.1.1": true,
		"2606:4700::1111": true, "2a00:1450:4001::1": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true,

		"169.254.169.254": false, "169.254.170.2": false, "100.100.100.200": false, "192.0.0.192": false,
		"168.63.129.16": false, "fd00:ec2::254": false, "fd00:ec2::23": false, "fd20:ce::254": false,
		"10.0.0.1": false, "10.96.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"100.64.0.1": false, "100.127.255.254": false, "198.18.0.1": false, "198.19.255.1": false,
		"127.0.0.1": false, "0.0.0.0": false, "224.0.0.251": false, "255.255.255.255": false,
		"::1": false, "::": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "fc00::1": false,
		"ff02::1": false, "2002:a00:1::": false, "2001::1": false,
		"::ffff:169.254.169.254": false, "::ffff:10.0.0.1": false,
		"64:ff9b::a9fe:a9fe": false, "64:ff9b::a00:1": false, "64:ff9b:1::a00:1": false,
	} {
		to := netip.AddrPortFrom(netip.MustParseAddr(address), 443)
		if got := Allows(policy, to, corev1.ProtocolTCP); got != want {
			t.Errorf("%s: allowed %t, want %t", address, got, want)
		}
	}
}

func TestAllows(t *testing.T) {
	const rules = `
  egress:
    - to: [{ipBlock: {cidr: 10.20.0.0/16, except: [10.20.9.0/24]}}]
      ports: [{port: 443}, {port: 8000, endPort: 8010}, {port: 53, protocol: UDP}, {port: named}]
    - to: [{ipBlock: {cidr: "fd12::/16"}}]
      ports: [{protocol: TCP}]
    - to: [{ipBlock: {cidr: 10.30.0.1/32}}]
    - to: [{namespaceSelector: {}}]
`
	for _, c := range []struct {
		to       string
		protocol corev1.Protocol
		want     bool
	}{
		{"10.20.1.1:443", corev1.ProtocolTCP, true},
		{"10.20.1.1:444", corev1.ProtocolTCP, false},
		{"10.20.1.1:443", corev1.ProtocolUDP, false},
		{"10.20.1.1:53", corev1.ProtocolUDP, true},
		{"10.20.1.1:53", corev1.ProtocolTCP, false},
		{"10.20.1.1:8000", corev1.ProtocolTCP, true},
		{"10.20.1.1:8010", corev1.ProtocolTCP, true},
		{"10.20.1.1:8011", corev1.ProtocolTCP, false},
		{"10.20.9.1:443", corev1.ProtocolTCP, false},
		{"[fd12::1]:6443", corev1.ProtocolTCP, true},
		{"[fd12::1]:6443", corev1.ProtocolUDP, false},
		{"10.30.0.1:1", corev1.ProtocolSCTP, true},
		// Which pod has the address is not known.
		{"10.40.0.1:443", corev1.ProtocolTCP, false},
	} {
		if got := Allows(policyOf(t, rules), netip.MustParseAddrPort(c.to), c.protocol); got != c.want {
			t.Errorf("%s %s: allowed %t, want %t", c.to, c.protocol, got, c.want)
		}
	}
	anywhere := netip.MustParseAddrPort("169.254.169.254:80")
	if !Allows(policyOf(t, "  egress: [{}]\n"), anywhere, corev1.ProtocolTCP) {
		t.Error("a rule without peers and ports allows nothing")
	}
	if Allows(policyOf(t, ""), anywhere, corev1.ProtocolTCP) {
		t.Error("a policy without rules allows something")
	}
	ingress := &networkingv1.NetworkPolicy{}
	ingress.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if !Allows(ingress, anywhere, corev1.ProtocolTCP) {
		t.Error("a policy for incoming connections limits outgoing ones")
	}
}

func TestResolvers(t *testing.T) {
	const text = `# nameserver 192.0.2.1
search nap.svc.cluster.local svc.cluster.local
nameserver fd00::10
nameserver 10.96.0.10
nameserver 10.96.0.10
nameserver 127.0.0.53
nameserver fe80::1%eth0
nameserver nonsense
nameserver
options ndots:5
`
	var got []string
	resolvers := Resolvers(text)
	for _, address := range resolvers {
		got = append(got, address.String())
	}
	if diff := cmp.Diff([]string{"10.96.0.10", "fd00::10", "fe80::1"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	policy := policyOf(t, "")
	AddResolvers(policy, resolvers)
	for to, want := range map[string]bool{
		"10.96.0.10:53": true, "[fd00::10]:53": true, "10.96.0.10:443": false, "10.96.0.11:53": false,
	} {
		for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
			if got := Allows(policy, netip.MustParseAddrPort(to), protocol); got != want {
				t.Errorf("%s %s: allowed %t, want %t", to, protocol, got, want)
			}
		}
	}
	if AddResolvers(policy, nil); len(policy.Spec.Egress) != 1 {
		t.Error("no name server makes a rule, which would open port 53 of everything")
	}
}

func TestAllowsNamespace(t *testing.T) {
	const models = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: models}}"
	for rules, want := range map[string]bool{
		"  egress: [{to: [{" + models + "}], ports: [{port: 8080}]}]\n":                              true,
		"  egress: [{to: [{" + models + ", podSelector: {matchLabels: {app: vllm}}}]}]\n":            false,
		"  egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}}]}]\n": false,
		"  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]\n":                                         false,
		"  egress: [{}]\n": true,
	} {
		if got := AllowsNamespace(policyOf(t, rules), "models"); got != want {
			t.Errorf("%s: allowed %t, want %t", rules, got, want)
		}
	}
}
