package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
)

const listenOnIPv6 = "workspaceRuntime.listenOnIPv6"

// family compares the addresses that Services get with those that AFS listens on. A Service that names no family, like
// those of the release and of workspaces, gets an address of the cluster's first family alone, which is that of the API
// server's own Service.
func family(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	const name = "Service " + metav1.NamespaceDefault + "/kubernetes"
	service, err := kube.Get[corev1.Service](ctx, s.Cluster.Untyped, kube.Services, metav1.NamespaceDefault, "kubernetes")
	if err != nil {
		return nil, fmt.Errorf("read %s, which shows the cluster's IP family: %w", name, err)
	}
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	listens, _, _ := unstructured.NestedBool(s.Requirements.Values, "workspaceRuntime", "listenOnIPv6")
	address, err := netip.ParseAddr(service.Spec.ClusterIP)
	if err != nil {
		return nil, fmt.Errorf("%s has no address that can be read (%q)", name, service.Spec.ClusterIP)
	}
	var findings []preflight.Finding
	switch six := address.Is6(); {
	case six && !listens:
		findings = append(findings, preflight.Finding{
			Object: name, Value: listenOnIPv6,
			Found: fmt.Sprintf("Services of this cluster get IPv6 addresses (%s has %s), and AFS listens on IPv4 alone",
				name, address),
			Why: "workspaces never get their files: nothing reaches port 9100 of the AFS controller and 9101 of workspaces",
			Fix: "set " + listenOnIPv6 + "=true",
		})
	case !six && listens && !slices.ContainsFunc(nodes, hasIPv6):
		findings = append(findings, preflight.Finding{
			Value: listenOnIPv6, Severity: preflight.Warning,
			Found: listenOnIPv6 + " is set, and no node has an IPv6 address",
			Why:   "AFS does not start on a node whose kernel has IPv6 turned off",
			Fix:   "remove the value: Services of this cluster get IPv4 addresses",
		})
	}
	if relay := s.Requirements.Relay; relay != nil {
		host, err := netip.ParseAddr(relay.Host)
		if err == nil && host.Is4() && len(nodes) > 0 && !slices.ContainsFunc(nodes, hasIPv4) {
			findings = append(findings, preflight.Finding{
				Value: "browser.turn.host", Severity: preflight.Warning,
				Found: fmt.Sprintf("browser.turn.host is the IPv4 address %s, and no node has one", host),
				Why:   "sandboxes do not reach the TURN server, and the live view of browsers stays black",
				Fix: "name a TURN server that has an IPv6 address in browser.turn.host, with browser.coturn.enabled=false: the " +
					"release's own knows IPv4 alone",
			})
		}
	}
	return findings, nil
}

func hasIPv4(node corev1.Node) bool { return hasAddress(node, netip.Addr.Is4) }
func hasIPv6(node corev1.Node) bool { return hasAddress(node, netip.Addr.Is6) }

func hasAddress(node corev1.Node, is func(netip.Addr) bool) bool {
	return slices.ContainsFunc(node.Status.Addresses, func(one corev1.NodeAddress) bool {
		address, err := netip.ParseAddr(one.Address)
		return err == nil && is(address)
	})
}
