package platform

import "net/netip"

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
	six := AddressRange{CIDR: "::/0", Except: append([]string{}, notInternet6...)}
	for _, text := range notInternet4 {
		prefix := netip.MustParsePrefix(text)
		wrapped, last := nat64.Addr().As16(), prefix.Addr().As4()
		copy(wrapped[12:], last[:])
		six.Except = append(six.Except, netip.PrefixFrom(netip.AddrFrom16(wrapped), nat64.Bits()+prefix.Bits()).String())
	}
	return []AddressRange{four, six}
}
