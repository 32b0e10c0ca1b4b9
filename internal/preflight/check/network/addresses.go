package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// The values that these policies come from.
const (
	usersFrom      = "global.networkPolicies.usersFrom"
	metadataEgress = "global.networkPolicies.metadataEgress"
)

// block is a range of addresses that NetworkPolicies name.
type block struct {
	networkingv1.IPBlock
	egress bool
	// policies are the names of those that do.
	policies []string
}

// blocks are the ranges that the release's NetworkPolicies name, each once for each direction.
func blocks(set *requirement.Set) []block {
	var found []block
	for _, object := range set.Objects {
		var policy networkingv1.NetworkPolicy
		if object.GetKind() != "NetworkPolicy" ||
			runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &policy) != nil {
			continue
		}
		add := func(peers []networkingv1.NetworkPolicyPeer, egress bool) {
			for _, peer := range peers {
				if peer.IPBlock == nil {
					continue
				}
				i := slices.IndexFunc(found, func(b block) bool {
					return b.egress == egress && b.CIDR == peer.IPBlock.CIDR && slices.Equal(b.Except, peer.IPBlock.Except)
				})
				if i < 0 {
					i, found = len(found), append(found, block{IPBlock: *peer.IPBlock, egress: egress})
				}
				if name := object.GetNamespace() + "/" + object.GetName(); !slices.Contains(found[i].policies, name) {
					found[i].policies = append(found[i].policies, name)
				}
			}
		}
		for _, rule := range policy.Spec.Ingress {
			add(rule.From, false)
		}
		for _, rule := range policy.Spec.Egress {
			add(rule.To, true)
		}
	}
	return found
}

func namesAddresses(s *preflight.Subject) (bool, string) {
	return len(blocks(s.Requirements)) > 0, "no NetworkPolicy names addresses (" + usersFrom + ")"
}

// addresses warns of ranges that contain addresses of nodes where Cilium enforces policies: it does not match nodes, nor
// pods on the network of their node, by their addresses.
func addresses(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	var findings []preflight.Finding
	for _, b := range blocks(s.Requirements) {
		names := b.nodes(nodes)
		if len(names) == 0 {
			continue
		}
		if findings == nil {
			enforces, err := ciliumIgnoresNodes(ctx, s)
			if err != nil || !enforces {
				return nil, err
			}
		}
		findings = append(findings, b.finding(s.Requirements, names))
	}
	return findings, nil
}

// nodes are the names of the nodes that have an address in the range.
func (b block) nodes(nodes []corev1.Node) []string {
	contains := func(cidr string, address netip.Addr) bool {
		prefix, err := netip.ParsePrefix(cidr)
		return err == nil && prefix.Contains(address)
	}
	var names []string
	for _, node := range nodes {
		for _, one := range node.Status.Addresses {
			address, err := netip.ParseAddr(one.Address)
			if err != nil || !contains(b.CIDR, address) ||
				slices.ContainsFunc(b.Except, func(except string) bool { return contains(except, address) }) {
				continue
			}
			names = append(names, node.Name)
			break
		}
	}
	return names
}

func (b block) finding(set *requirement.Set, nodes []string) preflight.Finding {
	named := strings.Join(nodes[:min(3, len(nodes))], ", ")
	if more := len(nodes) - 3; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	found := preflight.Finding{
		Object: "NetworkPolicy " + b.policies[0],
		Found:  fmt.Sprintf("%s contains the addresses of nodes (%s), and Cilium does not match nodes by address", b.CIDR, named),
		Why: "requests from nodes, and from pods on the network of their node such as an ingress controller's, are dropped: " +
			"users do not reach the platform",
		Fix: "let in nodes by a CiliumNetworkPolicy with fromEntities: [host, remote-node], or set policyCIDRMatchMode=nodes " +
			"in Cilium's own Helm values",
	}
	if b.egress {
		found.Why = "connections to nodes, and to pods on the network of their node, are dropped"
		found.Fix = strings.Replace(found.Fix, "let in nodes by", "allow nodes by", 1)
		found.Fix = strings.Replace(found.Fix, "fromEntities", "toEntities", 1)
		if strings.Contains(b.policies[0], "/"+set.Prefix+"-metadata-") {
			found.Value, found.Fix = metadataEgress, "set "+metadataEgress+"=open; or "+found.Fix
		}
		return found
	}
	peers, _, _ := unstructured.NestedSlice(set.Values, "global", "networkPolicies", "usersFrom")
	for _, peer := range peers {
		peer, _ := peer.(map[string]any)
		if cidr, _, _ := unstructured.NestedString(peer, "ipBlock", "cidr"); cidr == b.CIDR {
			found.Value = usersFrom
			found.Fix = fmt.Sprintf("leave %s empty; or name the ingress controller's pods there by namespaceSelector, unless "+
				"they are on the network of their node; or %s", usersFrom, found.Fix)
		}
	}
	return found
}

var (
	ciliumNode = schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNode"}
	daemonSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
)

// ciliumIgnoresNodes says whether Cilium is in the cluster and is not set to match nodes by their addresses, too.
func ciliumIgnoresNodes(ctx context.Context, s *preflight.Subject) (bool, error) {
	cilium, err := s.Cluster.Serves(ctx, ciliumNode)
	if err != nil {
		return false, fmt.Errorf("look for Cilium: %w", err)
	}
	if !cilium {
		set, err := s.Cluster.Get(ctx, daemonSets, metav1.NamespaceSystem, "cilium")
		if err != nil {
			return false, fmt.Errorf("look for Cilium: read DaemonSet %s/cilium: %w", metav1.NamespaceSystem, err)
		}
		if set == nil {
			return false, nil
		}
	}
	config, err := s.Cluster.Get(ctx, kube.ConfigMaps, metav1.NamespaceSystem, "cilium-config")
	if err != nil || config == nil {
		// Where its settings can't be read it has the default.
		return true, nil //nolint:nilerr // A warning that may not be needed is better than none.
	}
	mode, _, _ := unstructured.NestedString(config.Object, "data", "policy-cidr-match-mode")
	return !strings.Contains(mode, "nodes"), nil
}
