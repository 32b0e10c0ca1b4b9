package egress

import (
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// PodIPs is the environment variable with the addresses of a pod itself, by the downward API.
const PodIPs = "POD_IPS"

// ServiceHost is the environment variable with the address of the API server's Service, which the kubelet sets.
const ServiceHost = "KUBERNETES_SERVICE_HOST"

// Families are the IP families of a cluster's pods. Without any, they are not known.
type Families struct {
	IPv4, IPv6 bool
}

// FamiliesOf finds the families by the addresses of a pod, with commas between them, and the address of a Service. The
// Service alone would not do: in a cluster with both families it has one.
func FamiliesOf(podIPs, service string) Families {
	var found Families
	if strings.TrimSpace(podIPs) == "" {
		return found
	}
	for _, text := range append(strings.Split(podIPs, ","), service) {
		switch address, err := netip.ParseAddr(strings.Trim(text, " []")); {
		case err != nil:
		case address.Unmap().Is4():
			found.IPv4 = true
		default:
			found.IPv6 = true
		}
	}
	return found
}

// Have says whether an address is of one of the families. Of families that are not known it is.
func (f Families) Have(address netip.Addr) bool {
	if f == (Families{}) {
		return true
	}
	if address.Unmap().Is4() {
		return f.IPv4
	}
	return f.IPv6
}

// LimitTo removes from policy the blocks of other families, and returns them. Some network plugins enforce nothing of a
// policy that has a block of a family which they do not know.
func LimitTo(policy *networkingv1.NetworkPolicy, families Families) []string {
	var removed []string
	other := func(peer networkingv1.NetworkPolicyPeer) bool {
		if peer.IPBlock == nil {
			return false
		}
		prefix, err := netip.ParsePrefix(peer.IPBlock.CIDR)
		if err != nil || families.Have(prefix.Addr()) {
			return false
		}
		removed = append(removed, peer.IPBlock.CIDR)
		return true
	}
	var kept []networkingv1.NetworkPolicyEgressRule
	for _, rule := range policy.Spec.Egress {
		all := len(rule.To) == 0
		rule.To = slices.DeleteFunc(slices.Clone(rule.To), other)
		// A rule that has lost all its peers would admit every peer.
		if all || len(rule.To) > 0 {
			kept = append(kept, rule)
		}
	}
	policy.Spec.Egress = kept
	return removed
}
