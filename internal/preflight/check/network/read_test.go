package network

import (
	"testing"

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
	nets := []string{"10.0.0.0/8"}
	for _, tc := range []struct {
		name  string
		proxy proxy
		words []string
	}{
		{name: "good", proxy: proxy{"http://proxy:3128", "http://proxy:3128", nets}},
		{name: "no address", proxy: proxy{"proxy:3128", "http://proxy:3128", nets}, words: []string{"controlPlane.cp.proxy.http is no address of a proxy -> write it as http://host:port"}},
		{name: "no port", proxy: proxy{"", "http://proxy", nets}, words: []string{"warning: controlPlane.cp.proxy.https, for host proxy, names no port"}},
		{name: "a password", proxy: proxy{"", "http://me:hunter2@proxy:1", nets}, words: []string{"warning: controlPlane.cp.proxy.https holds a password"}},
		{name: "http only", proxy: proxy{"http://proxy:1", "", nets}, words: []string{"warning: a proxy is set for http and none for https"}},
		{name: "no networks", proxy: proxy{"", "http://proxy:1", []string{".example.com"}}, words: []string{"warning: noProxy names no network"}},
	} {
		t.Run(tc.name, func(t *testing.T) { checktest.Want(t, settings(tc.proxy), tc.words...) })
	}
}
