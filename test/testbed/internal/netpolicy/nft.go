package netpolicy

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// table is the testbed's in the node's network namespace.
const table = "neutree-network-policy"

// Names of what is in the table.
const (
	forwardChain = "forward"
	inputChain   = "input"
	ingressMap   = "ingress"
	egressMap    = "egress"
)

// transaction replaces whatever the table holds by the ruleset, in one step.
func transaction(tx *knftables.Transaction, ruleset Ruleset) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("NetworkPolicies of the testbed")})
	for _, name := range []string{ingressMap, egressMap} {
		tx.Add(&knftables.Map{Name: name, Type: "ipv4_addr : verdict"})
	}
	for _, pod := range ruleset {
		addPod(tx, pod, ingressMap, "saddr", pod.Ingress)
		addPod(tx, pod, egressMap, "daddr", pod.Egress)
	}
	// What is forwarded comes here with the destination that kube-proxy chose, so services need no thought. Pods of
	// one node are bridged, which the kernel passes through here too. What a node itself sends to its pods is never
	// forwarded, and so always let in.
	addHook(tx, forwardChain, knftables.ForwardHook,
		"ip saddr vmap @"+egressMap,
		"ip daddr vmap @"+ingressMap,
	)
	// What a pod sends to its own node is not forwarded either, but the pod's business all the same.
	addHook(tx, inputChain, knftables.InputHook, "ip saddr vmap @"+egressMap)
}

func addHook(tx *knftables.Transaction, name string, hook knftables.BaseChainHook, rules ...string) {
	tx.Add(&knftables.Chain{
		Name: name,
		Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(hook), Priority: knftables.PtrTo(knftables.FilterPriority),
	})
	for _, rule := range append([]string{"ct state established,related accept"}, rules...) {
		tx.Add(&knftables.Rule{Chain: name, Rule: rule})
	}
}

// addPod makes the chain that judges a pod's connections in one direction. It returns what is admitted, since the
// other end's pod may have its say as well, and drops the rest.
func addPod(tx *knftables.Transaction, pod PodRules, direction, peer string, rules *Direction) {
	if rules == nil {
		return
	}
	chain := direction + "-" + pod.Address
	tx.Add(&knftables.Chain{Name: chain, Comment: comment(pod.Pod)})
	// A pod always reaches itself, through a service too.
	self := fmt.Sprintf("ip saddr %s ip daddr %s return", pod.Address, pod.Address)
	for _, rule := range append([]string{self}, expressions(peer, rules.Rules)...) {
		tx.Add(&knftables.Rule{Chain: chain, Rule: rule})
	}
	tx.Add(&knftables.Rule{Chain: chain, Rule: "counter drop"})
	tx.Add(&knftables.Element{Map: direction, Key: []string{pod.Address}, Value: []string{"jump " + chain}})
}

// comment is text as long as nftables takes.
func comment(text string) *string {
	return knftables.PtrTo(text[:min(len(text), knftables.CommentLengthMax)])
}

// expressions are the rules as nftables writes them, each admitting one kind of peer at one kind of port.
func expressions(peer string, rules []Rule) []string {
	var result []string
	for _, rule := range rules {
		for _, from := range peerExpressions(peer, rule) {
			for _, at := range portExpressions(rule.Ports) {
				result = append(result, strings.Join(slices.DeleteFunc([]string{from, at, "return"}, func(part string) bool { return part == "" }), " "))
			}
		}
	}
	return result
}

func peerExpressions(peer string, rule Rule) []string {
	if rule.AnyPeer {
		return []string{""}
	}
	var result []string
	if len(rule.Addresses) > 0 {
		result = append(result, fmt.Sprintf("ip %s { %s }", peer, strings.Join(rule.Addresses, ", ")))
	}
	for _, block := range rule.Blocks {
		expression := fmt.Sprintf("ip %s %s", peer, block.CIDR)
		for _, except := range block.Except {
			expression += fmt.Sprintf(" ip %s != %s", peer, except)
		}
		result = append(result, expression)
	}
	return result
}

// portExpressions writes ranges one by one: in a set they must not overlap.
func portExpressions(ports []Port) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var result []string
	for _, port := range ports {
		protocol := strings.ToLower(port.Protocol)
		switch {
		case port.First == 0:
			result = append(result, "meta l4proto "+protocol)
		case port.First == port.Last:
			result = append(result, fmt.Sprintf("%s dport %d", protocol, port.First))
		default:
			result = append(result, fmt.Sprintf("%s dport %d-%d", protocol, port.First, port.Last))
		}
	}
	return result
}
