package platform

import (
	"net/netip"
	"slices"
)

// AddressRange is a range of IP addresses with exceptions, as the ipBlock of a NetworkPolicy.
type AddressRange struct {
	CIDR   string   `json:"cidr"`
	Except []string `json:"except"`
}

// notInternet4 are the IPv4 ranges that are not the internet: IANA's special-purpose ranges that a network may route,
// and one address of a cloud.
var notInternet4 = []string{
	"0.0.0.0/8",
	"10.0.0.0/8",
	"100.64.0.0/10", // carrier-grade NAT; also pods of some clusters, and the metadata service of Alibaba Cloud
	"127.0.0.0/8",
	"168.63.129.16/32", // Azure's WireServer, which hands out credentials of the node
	"169.254.0.0/16",   // link-local: the metadata service of most clouds
	"172.16.0.0/12",
	"192.0.0.0/24", // the metadata service of Oracle Cloud
	"192.168.0.0/16",
	"198.18.0.0/15", // networks for tests
	"224.0.0.0/4",   // multicast
	"240.0.0.0/4",   // reserved, and broadcast
}

// notInternet6 are the IPv6 ranges that are not the internet. IPv4 addresses that are written as IPv6 are left out: on
// the wire they are IPv4, and Kubernetes refuses them in a NetworkPolicy.
var notInternet6 = []string{
	"::/127",         // unspecified and loopback
	"64:ff9b:1::/48", // NAT64 of a single network
	"2001::/32",      // Teredo, which wraps IPv4
	"2002::/16",      // 6to4, which wraps IPv4
	"fc00::/7",       // private: also the metadata service of AWS, fd00:ec2::254
	"fe80::/10",      // link-local
	"fec0::/10",      // site-local
	"ff00::/8",       // multicast
}

// nat64 is where clusters with IPv6 alone reach IPv4: its last four bytes are the IPv4 address.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Internet are the addresses of the internet: all but link-local, private, shared, multicast and reserved ranges. IPv4
// addresses behind NAT64 count as what they are in IPv4.
func Internet() []AddressRange {
	four := AddressRange{CIDR: "0.0.0.0/0", Except: notInternet4}
	return []AddressRange{four, {CIDR: "::/0", Except: append(slices.Clone(notInternet6), wrapped(notInternet4)...)}}
}

// wrapped are IPv4 ranges as they are behind NAT64.
func wrapped(ranges []string) []string {
	var six []string
	for _, text := range ranges {
		prefix := netip.MustParsePrefix(text)
		address, last := nat64.Addr().As16(), prefix.Addr().As4()
		copy(address[12:], last[:])
		six = append(six, netip.PrefixFrom(netip.AddrFrom16(address), nat64.Bits()+prefix.Bits()).String())
	}
	return six
}

// metadata4 and metadata6 are where clouds hand out credentials of the node.
var (
	metadata4 = []string{"100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32"}
	metadata6 = []string{"fd00:ec2::254/128", "fe80::/10"}
)

// ButMetadata are all addresses but those of the metadata services of clouds, and other link-local ones.
func ButMetadata() []AddressRange {
	return []AddressRange{
		{CIDR: "0.0.0.0/0", Except: metadata4},
		{CIDR: "::/0", Except: append(slices.Clone(metadata6), wrapped(metadata4)...)},
	}
}
