// Package netpolicy enforces NetworkPolicies on one node: it works out from policies, pods and namespaces which
// connections each of the node's pods may have, and tells the kernel.
package netpolicy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Ruleset is what a node enforces: one entry for each of its pods that a policy isolates.
type Ruleset []PodRules

// PodRules are the connections that one pod may have.
type PodRules struct {
	// Pod is its namespace and name.
	Pod string
	// Address is the pod's.
	Address string
	// Ingress and Egress are nil where the pod is not isolated in that direction.
	Ingress, Egress *Direction
}

// Direction admits what at least one of its rules does. Without any it admits nothing.
type Direction struct {
	Rules []Rule
}

// Rule admits connections with a peer at a port.
type Rule struct {
	// Addresses are single peers, Blocks ranges of them. AnyPeer admits every peer instead.
	AnyPeer   bool
	Addresses []string
	Blocks    []Block
	// Ports are the destination's; empty admits every port of every protocol.
	Ports []Port
}

// Block is a range of addresses with exceptions.
type Block struct {
	CIDR   string
	Except []string
}

// Port is a range of a protocol's ports. First is 0 where it is all of them.
type Port struct {
	Protocol    string
	First, Last int32
}

// Cluster is what the rules follow from.
type Cluster struct {
	Policies   []*networkingv1.NetworkPolicy
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
}

// Build works out what a node enforces. Its result is in a fixed order, whatever the order of what goes in.
func Build(cluster Cluster, node string) (Ruleset, error) {
	b := builder{namespaces: map[string]labels.Set{}}
	for _, namespace := range cluster.Namespaces {
		b.namespaces[namespace.Name] = namespace.Labels
	}
	for _, pod := range cluster.Pods {
		if address := podAddress(pod); address != "" {
			b.pods = append(b.pods, pod)
		}
	}
	slices.SortFunc(b.pods, func(x, y *corev1.Pod) int { return cmp.Compare(podName(x), podName(y)) })
	policies := slices.SortedFunc(slices.Values(cluster.Policies), func(x, y *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	var ruleset Ruleset
	for _, pod := range b.pods {
		if pod.Spec.NodeName != node {
			continue
		}
		rules := PodRules{Pod: podName(pod), Address: podAddress(pod)}
		for _, policy := range policies {
			if err := b.apply(policy, pod, &rules); err != nil {
				return nil, fmt.Errorf("network policy %s/%s: %w", policy.Namespace, policy.Name, err)
			}
		}
		if rules.Ingress != nil || rules.Egress != nil {
			ruleset = append(ruleset, rules)
		}
	}
	return ruleset, nil
}

type builder struct {
	namespaces map[string]labels.Set
	pods       []*corev1.Pod
}

func podName(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

// podAddress is the IPv4 address of a pod that has one to itself; a pod that has ended may have lost it to another.
func podAddress(pod *corev1.Pod) string {
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return ""
	}
	for _, ip := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		if address, err := netip.ParseAddr(ip.IP); err == nil && address.Is4() {
			return ip.IP
		}
	}
	return ""
}

// apply adds what a policy says about a pod.
func (b *builder) apply(policy *networkingv1.NetworkPolicy, pod *corev1.Pod, rules *PodRules) error {
	if policy.Namespace != pod.Namespace {
		return nil
	}
	selected, err := matches(&policy.Spec.PodSelector, pod.Labels)
	if err != nil || !selected {
		return err
	}
	ingress, egress := directions(policy)
	if ingress {
		if rules.Ingress == nil {
			rules.Ingress = &Direction{}
		}
		for _, rule := range policy.Spec.Ingress {
			if err := b.ingress(rules.Ingress, policy.Namespace, rule, pod); err != nil {
				return err
			}
		}
	}
	if egress {
		if rules.Egress == nil {
			rules.Egress = &Direction{}
		}
		for _, rule := range policy.Spec.Egress {
			if err := b.egress(rules.Egress, policy.Namespace, rule); err != nil {
				return err
			}
		}
	}
	return nil
}

// directions are those in which a policy isolates: without policyTypes ingress always and egress where it has rules.
func directions(policy *networkingv1.NetworkPolicy) (ingress, egress bool) {
	if len(policy.Spec.PolicyTypes) == 0 {
		return true, len(policy.Spec.Egress) > 0
	}
	return slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress),
		slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// ingress finds a port's name among the ports of the pod that the policy is about.
func (b *builder) ingress(direction *Direction, namespace string, from networkingv1.NetworkPolicyIngressRule, pod *corev1.Pod) error {
	rule, _, err := b.peers(namespace, from.From)
	if err != nil {
		return err
	}
	for _, port := range from.Ports {
		if numbers, ok := numbered(port, pod); ok {
			rule.Ports = append(rule.Ports, numbers)
		}
	}
	if len(from.Ports) > 0 && len(rule.Ports) == 0 {
		return nil
	}
	direction.add(rule)
	return nil
}

// egress finds a port's name among the ports of each peer, which makes a rule for each.
func (b *builder) egress(direction *Direction, namespace string, to networkingv1.NetworkPolicyEgressRule) error {
	rule, pods, err := b.peers(namespace, to.To)
	if err != nil {
		return err
	}
	var named []networkingv1.NetworkPolicyPort
	for _, port := range to.Ports {
		if numbers, ok := numbered(port, nil); ok {
			rule.Ports = append(rule.Ports, numbers)
		} else {
			named = append(named, port)
		}
	}
	if len(to.Ports) == 0 || len(rule.Ports) > 0 {
		direction.add(rule)
	}
	for _, pod := range pods {
		single := Rule{Addresses: []string{podAddress(pod)}}
		for _, port := range named {
			if numbers, ok := numbered(port, pod); ok {
				single.Ports = append(single.Ports, numbers)
			}
		}
		if len(single.Ports) > 0 {
			direction.add(single)
		}
	}
	return nil
}

// add leaves out a rule that no peer can match.
func (d *Direction) add(rule Rule) {
	if rule.AnyPeer || len(rule.Addresses) > 0 || len(rule.Blocks) > 0 {
		d.Rules = append(d.Rules, rule)
	}
}

// peers are those of a rule, as addresses and as pods. No peers stand for all.
func (b *builder) peers(namespace string, peers []networkingv1.NetworkPolicyPeer) (Rule, []*corev1.Pod, error) {
	if len(peers) == 0 {
		return Rule{AnyPeer: true}, b.pods, nil
	}
	var rule Rule
	chosen := map[*corev1.Pod]bool{}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			block, err := ipv4Block(peer.IPBlock)
			if err != nil {
				return Rule{}, nil, err
			}
			if block != nil {
				rule.Blocks = append(rule.Blocks, *block)
			}
			continue
		}
		for _, pod := range b.pods {
			match, err := b.peerMatches(namespace, peer, pod)
			if err != nil {
				return Rule{}, nil, err
			}
			chosen[pod] = chosen[pod] || match
		}
	}
	var pods []*corev1.Pod
	for _, pod := range b.pods {
		if chosen[pod] {
			pods = append(pods, pod)
			rule.Addresses = append(rule.Addresses, podAddress(pod))
		}
	}
	slices.Sort(rule.Addresses)
	rule.Addresses = slices.Compact(rule.Addresses)
	return rule, pods, nil
}

func (b *builder) peerMatches(namespace string, peer networkingv1.NetworkPolicyPeer, pod *corev1.Pod) (bool, error) {
	if peer.NamespaceSelector == nil {
		if pod.Namespace != namespace {
			return false, nil
		}
	} else if match, err := matches(peer.NamespaceSelector, b.namespaces[pod.Namespace]); err != nil || !match {
		return false, err
	}
	if peer.PodSelector == nil {
		return true, nil
	}
	return matches(peer.PodSelector, pod.Labels)
}

func matches(selector *metav1.LabelSelector, set labels.Set) (bool, error) {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, fmt.Errorf("selector: %w", err)
	}
	return parsed.Matches(set), nil
}

// ipv4Block is nil for an IPv6 block: the testbed has no such addresses.
func ipv4Block(block *networkingv1.IPBlock) (*Block, error) {
	prefix, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock: %w", err)
	}
	if !prefix.Addr().Is4() {
		return nil, nil
	}
	result := &Block{CIDR: prefix.Masked().String()}
	for _, except := range block.Except {
		prefix, err := netip.ParsePrefix(except)
		if err != nil {
			return nil, fmt.Errorf("ipBlock.except: %w", err)
		}
		result.Except = append(result.Except, prefix.Masked().String())
	}
	return result, nil
}

// numbered is a policy's port as numbers. A name is looked for in the pod; without a pod, or when the pod has no such
// port, there are none.
func numbered(port networkingv1.NetworkPolicyPort, pod *corev1.Pod) (Port, bool) {
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	result := Port{Protocol: string(protocol)}
	if port.Port == nil {
		return result, true
	}
	if name := port.Port.StrVal; name != "" {
		number := portNumber(pod, name, protocol)
		result.First, result.Last = number, number
		return result, number != 0
	}
	result.First, result.Last = port.Port.IntVal, port.Port.IntVal
	if port.EndPort != nil {
		result.Last = *port.EndPort
	}
	return result, true
}

func portNumber(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	if pod == nil {
		return 0
	}
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, port := range container.Ports {
			if port.Name == name && cmp.Or(port.Protocol, corev1.ProtocolTCP) == protocol {
				return port.ContainerPort
			}
		}
	}
	return 0
}
