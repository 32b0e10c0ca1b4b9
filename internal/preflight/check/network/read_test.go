package network

import (
	"cmp"
	"fmt"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func TestDomain(t *testing.T) {
	config := func(domain string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: coredns, namespace: kube-system}\ndata:\n  Corefile: |\n    .:53 {\n      kubernetes " + domain + " in-addr.arpa {\n      }\n    }\n"
	}
	for _, tc := range []struct {
		name, object string
		words        []string
	}{
		{name: "usual", object: config("cluster.local")},
		{name: "another", object: config("corp.internal"), words: []string{"the names of this cluster end in corp.internal -> let CoreDNS answer for cluster.local too"}},
		{name: "unknown", words: []string{"note: no configuration of CoreDNS can be read"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checktest.Want(t, checktest.Run(t, Checks(), "network.domain", checktest.Subject(t, kubetest.New(t, tc.object), &requirement.Set{})), tc.words...)
		})
	}
}

func TestProxy(t *testing.T) {
	const without = "note: no proxy is used by "
	unproxied := []string{
		without + "agents in workspaces", without + "WebSockets and AWS SQS of the channel gateway",
		without + "LDAP", without + "image pulls", without + "sandboxes and browsers",
	}
	for _, tc := range []struct {
		name, global, own string
		words             []string
	}{
		{name: "good", global: `{httpProxy: "http://proxy:3128", httpsProxy: "http://proxy:3128"}`},
		{name: "no address", global: `{httpProxy: "proxy:3128", httpsProxy: "http://proxy:3128"}`, words: []string{
			"global.proxy.httpProxy is no address of a proxy -> write it as http://host:port"}},
		{name: "no port", global: `{httpsProxy: "http://proxy"}`, words: []string{
			"warning: global.proxy.httpsProxy, for host proxy, names no port"}},
		{name: "a password", global: `{httpsProxy: "http://me:hunter2@proxy:1"}`, words: []string{
			"warning: global.proxy.httpsProxy contains a password"}},
		{name: "http only", global: `{httpProxy: "http://proxy:1"}`, words: []string{
			"warning: a proxy is set for http and none for https -> set global.proxy.httpsProxy too"}},
		{name: "a network", global: `{httpsProxy: "http://proxy:1", noProxy: [.example.com, 10.0.0.0/8]}`, words: []string{
			"warning: global.proxy.noProxy has the network 10.0.0.0/8, which Node.js does not understand"}},
		{name: "the control plane's own", own: `{http: "proxy:3128"}`, words: []string{
			"controlPlane.cp.proxy.http is no address of a proxy", "-> set controlPlane.cp.proxy.https too"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			values := map[string]any{}
			document := fmt.Sprintf("global: {proxy: %s}\ncontrolPlane: {cp: {proxy: %s}}\n",
				cmp.Or(tc.global, "{}"), cmp.Or(tc.own, "{}"))
			if err := yaml.Unmarshal([]byte(document), &values); err != nil {
				t.Fatal(err)
			}
			s := checktest.Subject(t, kubetest.New(t), &requirement.Set{Values: values})
			checktest.Want(t, checktest.Run(t, Checks(), "network.proxy", s), append(tc.words, unproxied...)...)
		})
	}
}
