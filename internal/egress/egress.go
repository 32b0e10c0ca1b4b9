// Package egress says which addresses the NetworkPolicy for workspaces lets them connect to.
package egress

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Modes are the values of global.networkPolicies.workspaceEgress.mode.
const (
	// Auto limits the workspaces of new installations and leaves those of others as they are.
	Auto = "auto"
	// Closed limits them.
	Closed = "closed"
	// Open does not.
	Open = "open"
)

// dnsPort is the port that resolvers listen on.
const dnsPort = 53

// Allows says whether policy lets its pods connect to an address. Rules that name pods are left out: which pod an
// address belongs to is not known here, so only what lies outside the cluster is judged.
func Allows(policy *networkingv1.NetworkPolicy, to netip.AddrPort, protocol corev1.Protocol) bool {
	if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
		return true
	}
	// On the wire an IPv4 address that is written as IPv6 is IPv4.
	address := to.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(policy.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
		return opens(rule.Ports, to.Port(), protocol) && (len(rule.To) == 0 ||
			slices.ContainsFunc(rule.To, func(peer networkingv1.NetworkPolicyPeer) bool {
				return contains(peer.IPBlock, address)
			}))
	})
}

// AllowsNamespace says whether policy lets its pods connect to every pod of a namespace, on some port at least: behind
// which ports of pods a Service is, is not known here.
func AllowsNamespace(policy *networkingv1.NetworkPolicy, namespace string) bool {
	return slices.ContainsFunc(policy.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
		return len(rule.To) == 0 || slices.ContainsFunc(rule.To, func(peer networkingv1.NetworkPolicyPeer) bool {
			return peer.PodSelector == nil && peer.NamespaceSelector != nil &&
				peer.NamespaceSelector.MatchLabels[corev1.LabelMetadataName] == namespace
		})
	})
}

func opens(ports []networkingv1.NetworkPolicyPort, port uint16, protocol corev1.Protocol) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(open networkingv1.NetworkPolicyPort) bool {
		switch {
		case open.Protocol == nil && protocol != corev1.ProtocolTCP, open.Protocol != nil && *open.Protocol != protocol:
			return false
		case open.Port == nil:
			return true
		case open.Port.Type == intstr.String:
			// A name is one of a pod's ports.
			return false
		}
		first, last := open.Port.IntVal, open.Port.IntVal
		if open.EndPort != nil {
			last = *open.EndPort
		}
		return first <= int32(port) && int32(port) <= last
	})
}

// contains says whether a block contains an address. A range that cannot be read contains nothing: the API server has
// refused such a policy.
func contains(block *networkingv1.IPBlock, address netip.Addr) bool {
	if block == nil || !within(block.CIDR, address) {
		return false
	}
	return !slices.ContainsFunc(block.Except, func(cidr string) bool { return within(cidr, address) })
}

func within(cidr string, address netip.Addr) bool {
	prefix, err := netip.ParsePrefix(cidr)
	return err == nil && prefix.Contains(address)
}

// AddResolvers lets the pods of policy ask resolvers. Clusters with a DNS cache on each node send pods to an address
// that belongs to no pod, so the rule that names the pods of the cluster's DNS does not do there.
func AddResolvers(policy *networkingv1.NetworkPolicy, resolvers []netip.Addr) {
	if len(resolvers) == 0 {
		return
	}
	port := intstr.FromInt32(dnsPort)
	rule := networkingv1.NetworkPolicyEgressRule{}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port})
	}
	for _, resolver := range resolvers {
		block := &networkingv1.IPBlock{CIDR: netip.PrefixFrom(resolver, resolver.BitLen()).String()}
		rule.To = append(rule.To, networkingv1.NetworkPolicyPeer{IPBlock: block})
	}
	policy.Spec.Egress = append(policy.Spec.Egress, rule)
}

// Resolvers are the name servers that the text of a resolv.conf names, in a fixed order. A loopback address is the
// pod's own.
func Resolvers(resolvConf string) []netip.Addr {
	var found []netip.Addr
	for _, line := range strings.Split(resolvConf, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil && !address.IsLoopback() {
			found = append(found, address.Unmap().WithZone(""))
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found)
}
