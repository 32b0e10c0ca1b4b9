package netpolicy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The cluster of the tests: two namespaces, of which one is trusted, with a web server and a client in each.
func testPods() []*corev1.Pod {
	return []*corev1.Pod{
		testPod("shop", "web", "10.0.1.1", "node1", 8080),
		testPod("shop", "client", "10.0.1.2", "node1", 0),
		testPod("shop", "remote", "10.0.2.1", "node2", 0),
		testPod("trusted", "web", "10.0.2.2", "node2", 9090),
		testPod("trusted", "client", "10.0.2.3", "node2", 0),
	}
}

func testPod(namespace, app, address, node string, port int32) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: app}}},
		Status:     corev1.PodStatus{PodIP: address, Phase: corev1.PodRunning},
	}
	if port != 0 {
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: port}}
	}
	return pod
}

func testNamespaces() []*corev1.Namespace {
	return []*corev1.Namespace{
		{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "trusted", Labels: map[string]string{"trust": "yes"}}},
	}
}

func policy(t *testing.T, name, spec string) *networkingv1.NetworkPolicy {
	t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

// summary writes the rules of one direction as nftables does, or "open".
func summary(peer string, direction *Direction) string {
	if direction == nil {
		return "open"
	}
	return strings.Join(expressions(peer, direction.Rules), "; ")
}

func TestBuild(t *testing.T) {
	for name, test := range map[string]struct {
		specs           []string
		ingress, egress string // of the pod shop/web
	}{
		"another pod's policy": {
			specs:   []string{`podSelector: {matchLabels: {app: other}}`},
			ingress: "open", egress: "open",
		},
		"deny everything in": {
			specs:   []string{`podSelector: {}`},
			ingress: "", egress: "open",
		},
		"deny everything both ways": {
			specs:   []string{"podSelector: {}\npolicyTypes: [Ingress, Egress]"},
			ingress: "", egress: "",
		},
		"deny everything out": {
			specs:   []string{"podSelector: {}\npolicyTypes: [Egress]"},
			ingress: "open", egress: "",
		},
		"egress rules without policyTypes isolate both ways": {
			specs:   []string{"podSelector: {}\negress: [{}]"},
			ingress: "", egress: "return",
		},
		"allow everything in": {
			specs:   []string{"podSelector: {}\ningress: [{}]"},
			ingress: "return", egress: "open",
		},
		"pods of the same namespace": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]"},
			ingress: "ip saddr { 10.0.1.2 } return", egress: "open",
		},
		"pods of other nodes count": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}]}]"},
			ingress: "ip saddr { 10.0.1.2, 10.0.2.1 } return", egress: "open",
		},
		"all pods of chosen namespaces": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {trust: 'yes'}}}]}]"},
			ingress: "ip saddr { 10.0.2.2, 10.0.2.3 } return", egress: "open",
		},
		"chosen pods of chosen namespaces": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {trust: 'yes'}}, podSelector: {matchLabels: {app: client}}}]}]"},
			ingress: "ip saddr { 10.0.2.3 } return", egress: "open",
		},
		"two peers add up": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {trust: 'yes'}}}, {podSelector: {matchLabels: {app: client}}}]}]"},
			ingress: "ip saddr { 10.0.1.2, 10.0.2.2, 10.0.2.3 } return", egress: "open",
		},
		"a peer that is nobody": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: ghost}}}]}]"},
			ingress: "", egress: "open",
		},
		"blocks with exceptions": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}}]}]"},
			ingress: "ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 ip saddr != 10.2.0.0/16 return", egress: "open",
		},
		"blocks of the other family": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]"},
			ingress: "", egress: "open",
		},
		"ports": {
			specs:   []string{"podSelector: {}\ningress: [{ports: [{port: 80}, {port: 53, protocol: UDP}, {port: 8000, endPort: 8010}, {protocol: SCTP}]}]"},
			ingress: "tcp dport 80 return; udp dport 53 return; tcp dport 8000-8010 return; meta l4proto sctp return", egress: "open",
		},
		"a port's name is the isolated pod's": {
			specs:   []string{"podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]"},
			ingress: "ip saddr { 10.0.1.2 } tcp dport 8080 return", egress: "open",
		},
		"a port's name that the pod does not have": {
			specs:   []string{"podSelector: {}\ningress: [{ports: [{port: metrics}]}]"},
			ingress: "", egress: "open",
		},
		"a port's name is of one protocol": {
			specs:   []string{"podSelector: {}\ningress: [{ports: [{port: http, protocol: UDP}]}]"},
			ingress: "", egress: "open",
		},
		"outwards a port's name is each peer's": {
			specs:   []string{"podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{namespaceSelector: {}}], ports: [{port: http}, {port: 53, protocol: UDP}]}]"},
			ingress: "open",
			egress: "ip daddr { 10.0.1.1, 10.0.1.2, 10.0.2.1, 10.0.2.2, 10.0.2.3 } udp dport 53 return; " +
				"ip daddr { 10.0.1.1 } tcp dport 8080 return; ip daddr { 10.0.2.2 } tcp dport 9090 return",
		},
		"outwards to anybody by a port's name": {
			specs:   []string{"podSelector: {}\npolicyTypes: [Egress]\negress: [{ports: [{port: http}]}]"},
			ingress: "open",
			egress:  "ip daddr { 10.0.1.1 } tcp dport 8080 return; ip daddr { 10.0.2.2 } tcp dport 9090 return",
		},
		"policies add up": {
			specs: []string{
				"podSelector: {}\npolicyTypes: [Ingress, Egress]",
				"podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]",
				"podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]",
			},
			ingress: "ip saddr { 10.0.1.2 } tcp dport 8080 return",
			egress:  "ip daddr 0.0.0.0/0 return",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := Cluster{Pods: testPods(), Namespaces: testNamespaces()}
			for i, spec := range test.specs {
				cluster.Policies = append(cluster.Policies, policy(t, string(rune('a'+i)), spec))
			}
			ruleset, err := Build(cluster, "node1")
			if err != nil {
				t.Fatal(err)
			}
			web := PodRules{Pod: "shop/web", Address: "10.0.1.1"}
			if i := slices.IndexFunc(ruleset, func(p PodRules) bool { return p.Pod == "shop/web" }); i >= 0 {
				web = ruleset[i]
			}
			if got := summary("saddr", web.Ingress); got != test.ingress {
				t.Errorf("ingress:\n got %s\nwant %s", got, test.ingress)
			}
			if got := summary("daddr", web.Egress); got != test.egress {
				t.Errorf("egress:\n got %s\nwant %s", got, test.egress)
			}
		})
	}
}

func TestBuildIsAboutTheNodesOwnPods(t *testing.T) {
	deny := policy(t, "deny", "podSelector: {}")
	ruleset, err := Build(Cluster{Policies: []*networkingv1.NetworkPolicy{deny}, Pods: testPods(), Namespaces: testNamespaces()}, "node2")
	if err != nil {
		t.Fatal(err)
	}
	var pods []string
	for _, rules := range ruleset {
		pods = append(pods, rules.Pod)
	}
	if diff := cmp.Diff([]string{"shop/remote"}, pods); diff != "" {
		t.Errorf("isolated pods (-want +got):\n%s", diff)
	}
}

func TestBuildLeavesOutPodsWithoutAnAddressOfTheirOwn(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"of the node's network": func(pod *corev1.Pod) { pod.Spec.HostNetwork = true },
		"that has succeeded":    func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded },
		"that has failed":       func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed },
		"without an address":    func(pod *corev1.Pod) { pod.Status.PodIP = "" },
	} {
		t.Run(name, func(t *testing.T) {
			pods := testPods()
			for _, pod := range pods {
				if pod.Name == "client" {
					change(pod)
				}
			}
			allow := policy(t, "allow", "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]")
			ruleset, err := Build(Cluster{Policies: []*networkingv1.NetworkPolicy{allow}, Pods: pods, Namespaces: testNamespaces()}, "node1")
			if err != nil {
				t.Fatal(err)
			}
			if len(ruleset) != 1 || ruleset[0].Pod != "shop/web" || len(ruleset[0].Ingress.Rules) != 0 {
				t.Errorf("got %+v", ruleset)
			}
		})
	}
}

func TestBuildDoesNotDependOnOrder(t *testing.T) {
	policies := []*networkingv1.NetworkPolicy{
		policy(t, "a", "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]"),
		policy(t, "b", "podSelector: {}\ningress: [{from: [{namespaceSelector: {}}]}]"),
	}
	forward, err := Build(Cluster{Policies: policies, Pods: testPods(), Namespaces: testNamespaces()}, "node1")
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(policies)
	pods := testPods()
	slices.Reverse(pods)
	backward, err := Build(Cluster{Policies: policies, Pods: pods, Namespaces: testNamespaces()}, "node1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(forward, backward); diff != "" {
		t.Errorf("another order, another result:\n%s", diff)
	}
}

func TestBuildNamesThePolicyItCannotRead(t *testing.T) {
	bad := policy(t, "bad", "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: nonsense}}]}]")
	_, err := Build(Cluster{Policies: []*networkingv1.NetworkPolicy{bad}, Pods: testPods(), Namespaces: testNamespaces()}, "node1")
	if err == nil || !strings.HasPrefix(err.Error(), "network policy shop/bad: ipBlock: ") {
		t.Errorf("got %v", err)
	}
}
