package network

import (
	"fmt"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// Cilium does not match nodes by address: users would be locked out without a word.
func TestNodeAddressesUnderCilium(t *testing.T) {
	node := func(name, address string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s}, status: {addresses: "+
			"[{type: Hostname, address: %s}, {type: InternalIP, address: %q}]}}", name, name, address)
	}
	nodes := []string{node("a", "10.0.0.1"), node("b", "10.0.0.2"), node("c", "10.0.0.3"), node("d", "10.0.0.4"),
		node("e", "fd00::5")}
	const (
		cilium   = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: cilium, namespace: kube-system}}"
		settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: cilium-config, namespace: kube-system}, " +
			"data: {policy-cidr-match-mode: %q}}"
		open   = "global.networkPolicies.metadataEgress=open"
		block  = "global.networkPolicies.usersFrom[0].ipBlock.cidr="
		except = "global.networkPolicies.usersFrom[0].ipBlock.except[0]="
	)
	for name, tc := range map[string]struct {
		values, objects []string
		definitions     bool
		metadata        bool
		words           []string
	}{
		"the metadata service is closed": {metadata: true, objects: []string{cilium}, words: []string{
			"0.0.0.0/0 contains the addresses of nodes (a, b, c and 1 more), and Cilium does not match nodes by address -> " +
				"set global.networkPolicies.metadataEgress=open; or allow nodes by a CiliumNetworkPolicy",
			"::/0 contains the addresses of nodes (e)"}},
		"it is left open": {values: []string{block + "192.168.0.0/16"}, objects: []string{cilium}},
		"a range with nodes": {values: []string{block + "10.0.0.0/24"}, objects: []string{cilium}, words: []string{
			"10.0.0.0/24 contains the addresses of nodes (a, b, c and 1 more), and Cilium does not match nodes by address -> " +
				"leave global.networkPolicies.usersFrom empty; or name the ingress controller's pods",
		}},
		"the address of one node": {values: []string{block + "10.0.0.2/32"}, objects: []string{cilium},
			words: []string{"10.0.0.2/32 contains the addresses of nodes (b)"}},
		"IPv6": {values: []string{block + "fd00::/64"}, objects: []string{cilium},
			words: []string{"fd00::/64 contains the addresses of nodes (e)"}},
		"known by its definitions": {values: []string{block + "10.0.0.2/32"}, definitions: true,
			words: []string{"10.0.0.2/32 contains the addresses of nodes (b)"}},
		"nodes are left out":          {values: []string{block + "10.0.0.0/24", except + "10.0.0.0/29"}, objects: []string{cilium}},
		"no node has such an address": {values: []string{block + "192.168.0.0/16"}, objects: []string{cilium}},
		"another plugin":              {values: []string{block + "10.0.0.0/24"}},
		"Cilium is set to match them": {values: []string{block + "10.0.0.0/24"}, objects: []string{cilium, fmt.Sprintf(settings, "nodes")}},
		"Cilium has its defaults": {values: []string{block + "10.0.0.2/32"}, objects: []string{cilium, fmt.Sprintf(settings, "")},
			words: []string{"10.0.0.2/32 contains the addresses of nodes (b)"}},
	} {
		t.Run(name, func(t *testing.T) {
			api := kubetest.New(t, append(nodes, tc.objects...)...)
			if tc.definitions {
				api.Know(ciliumNode)
			}
			if !tc.metadata {
				tc.values = append(tc.values, open)
			}
			s := checktest.Subject(t, api, requirementtest.Load(t, tc.values...))
			if applies, reason := namesAddresses(s); !applies {
				t.Fatal(reason)
			}
			checktest.Want(t, checktest.Run(t, Checks(), "network.node-addresses", s), tc.words...)
		})
	}
	without := requirementtest.Load(t, "global.networkPolicies.enabled=false")
	if applies, reason := namesAddresses(checktest.Subject(t, kubetest.New(t), without)); applies || reason == "" {
		t.Errorf("without addresses: applies %t, %s", applies, reason)
	}
}
