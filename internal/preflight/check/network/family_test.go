package network

import (
	"fmt"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// AFS listens on IPv4 alone unless a value says otherwise: where Services get IPv6 addresses nothing reaches it.
func TestIPFamily(t *testing.T) {
	const (
		service = "{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default}, spec: {clusterIP: %q}}"
		node    = "{apiVersion: v1, kind: Node, metadata: {name: %[1]s}, status: {addresses: [{type: InternalIP, address: %[2]q}, " +
			"{type: InternalIP, address: %[3]q}]}}"
		listens = "workspaceRuntime.listenOnIPv6=true"
	)
	four, six := fmt.Sprintf(service, "10.96.0.1"), fmt.Sprintf(service, "fd00:10:96::1")
	browser := []string{"global.host=nap.example.com", "global.modules.sandbox.enabled=true",
		"sandbox.openSandbox.url=http://opensandbox.example.com", "global.modules.browser.enabled=true", "browser.turn.host=203.0.113.10"}
	for name, tc := range map[string]struct {
		values, objects []string
		words           []string
	}{
		"IPv4":                          {objects: []string{four, fmt.Sprintf(node, "a", "10.0.0.1", "")}},
		"both, IPv4 first":              {objects: []string{four, fmt.Sprintf(node, "a", "10.0.0.1", "fd00::1")}},
		"both, and AFS listens on both": {values: []string{listens}, objects: []string{four, fmt.Sprintf(node, "a", "10.0.0.1", "fd00::1")}},
		"IPv6, and AFS listens on it":   {values: []string{listens}, objects: []string{six, fmt.Sprintf(node, "a", "fd00::1", "")}},
		"IPv6": {objects: []string{six, fmt.Sprintf(node, "a", "fd00::1", "")}, words: []string{
			"Services of this cluster get IPv6 addresses (Service default/kubernetes has fd00:10:96::1), and AFS listens on IPv4 alone -> " +
				"set workspaceRuntime.listenOnIPv6=true"}},
		"both, IPv6 first": {objects: []string{six, fmt.Sprintf(node, "a", "fd00::1", "10.0.0.1")},
			words: []string{"Services of this cluster get IPv6 addresses"}},
		"IPv4, and AFS listens on IPv6": {values: []string{listens}, objects: []string{four, fmt.Sprintf(node, "a", "10.0.0.1", "")},
			words: []string{"warning: workspaceRuntime.listenOnIPv6 is set, and no node has an IPv6 address"}},
		"a TURN server of IPv4": {values: append([]string{listens}, browser...), objects: []string{six, fmt.Sprintf(node, "a", "fd00::1", "")},
			words: []string{"warning: browser.turn.host is the IPv4 address 203.0.113.10, and no node has one -> name a TURN server"}},
		"a TURN server, and nodes of both": {values: append([]string{listens}, browser...),
			objects: []string{six, fmt.Sprintf(node, "a", "fd00::1", "10.0.0.1")}},
	} {
		t.Run(name, func(t *testing.T) {
			s := checktest.Subject(t, kubetest.New(t, tc.objects...), requirementtest.Load(t, tc.values...))
			checktest.Want(t, checktest.Run(t, Checks(), "network.ip-family", s), tc.words...)
		})
	}
	_, err := family(t.Context(), checktest.Subject(t, kubetest.New(t), requirementtest.Load(t)))
	if err == nil || !strings.Contains(err.Error(), "read Service default/kubernetes, which shows the cluster's IP family") {
		t.Errorf("%v, want that the Service can't be read", err)
	}
}
