package egress

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Allow is the value with what the policy admits in addition.
const Allow = "global.networkPolicies.workspaceEgress.allow"

// Need is an address that workspaces are known to use.
type Need struct {
	Host string
	Port uint16
}

// NeedOf is the need for a URL, and whether the URL names a host that is not the pod itself.
func NeedOf(raw string) (Need, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Hostname() == "localhost" {
		return Need{}, false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80"}[u.Scheme]
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		number = 443
	}
	return Need{Host: u.Hostname(), Port: uint16(number)}, true
}

// Namespace is the namespace of a Service that the host names, "" for other hosts.
func (n Need) Namespace() string {
	if parts := strings.Split(strings.TrimSuffix(n.Host, "."), "."); len(parts) > 2 && parts[2] == "svc" {
		return parts[1]
	}
	return ""
}

// Cut are those of the host's addresses that policy keeps workspaces from.
func (n Need) Cut(policy *networkingv1.NetworkPolicy, addresses []netip.Addr, families Families) []netip.Addr {
	if namespace := n.Namespace(); namespace != "" && AllowsNamespace(policy, namespace) {
		return nil
	}
	var cut []netip.Addr
	for _, address := range addresses {
		address = address.Unmap().WithZone("")
		if address.IsLoopback() || !families.Have(address) ||
			Allows(policy, netip.AddrPortFrom(address, n.Port), corev1.ProtocolTCP) {
			continue
		}
		cut = append(cut, address)
	}
	slices.SortFunc(cut, netip.Addr.Compare)
	return slices.Compact(cut)
}

// Entries are what admits the addresses, as JSON for the value Allow.
func (n Need) Entries(addresses []netip.Addr) string {
	type port struct {
		Port uint16 `json:"port"`
	}
	type entry struct {
		CIDR      string `json:"cidr,omitempty"`
		Namespace string `json:"namespace,omitempty"`
		Ports     []port `json:"ports,omitempty"`
	}
	var entries []entry
	if namespace := n.Namespace(); namespace != "" {
		// The ports of pods may differ from those of their Service.
		entries = append(entries, entry{Namespace: namespace})
		addresses = nil
	}
	for _, address := range addresses {
		cidr := netip.PrefixFrom(address, address.BitLen()).String()
		entries = append(entries, entry{CIDR: cidr, Ports: []port{{n.Port}}})
	}
	raw, err := json.Marshal(entries)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
