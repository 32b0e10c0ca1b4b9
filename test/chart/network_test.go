package chart_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// host is a pod that opens connections or takes them.
type host struct {
	namespace string
	labels    labels.Set
	ports     map[string]int32 // by name
}

// network is what pods of a render can do to each other.
type network struct {
	t        *testing.T
	policies []*networkingv1.NetworkPolicy
	hosts    map[string]host
}

// strangers are pods that have no business with the platform, by what they try.
var strangers = map[string]host{
	"a pod of another namespace":                        {namespace: "other", labels: labels.Set{"app": "nap-cp"}},
	"a database of another namespace":                   {namespace: "other", labels: labels.Set{"cnpg.io/cluster": "nap-pg"}},
	"a pod of the release's namespace":                  {namespace: namespace, labels: labels.Set{"app": "other"}},
	"a pod of the workspaces' namespace":                {namespace: workspace, labels: labels.Set{"app": "nap-cp"}},
	"a pod like a workspace in the release's namespace": {namespace: namespace, labels: labels.Set{"app": platform.WorkspaceApp}},
}

func networkOf(t *testing.T, objects []chart.Object) network {
	t.Helper()
	n := network{t: t, hosts: maps.Clone(strangers)}
	for _, object := range withoutCRDs(objects) {
		// What is there while helm test runs is not what holds otherwise.
		if object.GetKind() == "NetworkPolicy" && object.Hook == nil {
			n.policies = append(n.policies, typed(t, object).(*networkingv1.NetworkPolicy))
		}
	}
	for _, w := range workloads(objects) {
		p, _ := mainContainer(t, w, objects)
		h := host{namespace: namespaceOf(p.from), labels: p.template.Labels, ports: map[string]int32{}}
		for _, c := range p.spec().Containers {
			for _, port := range c.Ports {
				h.ports[port.Name] = port.ContainerPort
			}
		}
		n.hosts[w.Name] = h
	}
	for command, p := range jobs(t, objects) {
		n.hosts[command] = host{namespace: namespaceOf(p.from), labels: p.template.Labels}
	}
	n.hosts[contract.Workspaces] = host{namespace: workspace, labels: labels.Set{"app": platform.WorkspaceApp}}
	n.hosts[contract.Database] = host{namespace: namespace, labels: labels.Set{"cnpg.io/cluster": cluster(t, objects).GetName()}}
	n.hosts[contract.Operator] = operatorOf(t, objects)
	return n
}

// operatorOf is the operator of the release, or one that was in the cluster before.
func operatorOf(t *testing.T, objects []chart.Object) host {
	t.Helper()
	for _, object := range withoutCRDs(objects) {
		if d, ok := typed(t, object).(*appsv1.Deployment); ok && strings.Contains(object.Source, "/charts/"+operator+"/") {
			return host{namespace: namespaceOf(object), labels: d.Spec.Template.Labels}
		}
	}
	return host{namespace: "cnpg-system", labels: labels.Set{"app.kubernetes.io/name": operator}}
}

// admits says whether policies let from open a connection to a port of to.
func (n network) admits(from, to host, port int32) bool {
	isolated := false
	for _, policy := range n.policies {
		if policy.Namespace != to.namespace || !n.selects(&policy.Spec.PodSelector, to.labels) ||
			!slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			continue
		}
		isolated = true
		for _, rule := range policy.Spec.Ingress {
			if n.opens(rule.Ports, to, port) && n.includes(rule.From, from, policy.Namespace) {
				return true
			}
		}
	}
	return !isolated
}

func (n network) opens(ports []networkingv1.NetworkPolicyPort, to host, port int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		if p.Port.Type == intstr.String {
			return to.ports[p.Port.StrVal] == port
		}
		return p.Port.IntVal == port
	})
}

func (n network) includes(peers []networkingv1.NetworkPolicyPeer, from host, own string) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		switch {
		case peer.IPBlock != nil:
			return false
		case peer.NamespaceSelector == nil && from.namespace != own:
			return false
		case peer.NamespaceSelector != nil && !n.selects(peer.NamespaceSelector, labels.Set{"kubernetes.io/metadata.name": from.namespace}):
			return false
		}
		return peer.PodSelector == nil || n.selects(peer.PodSelector, from.labels)
	})
}

func (n network) selects(selector *metav1.LabelSelector, set labels.Set) bool {
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		n.t.Fatal(err)
	}
	return compiled.Matches(set)
}

// callers are who uses what users use too.
var callers = map[string][]string{
	"cp":      {"cg", "skills", "scheduler", "env-runner-k8s", "sandbox", "browser", contract.Workspaces},
	"sandbox": {"cp", "browser"},
	"browser": {"cp"},
}

func TestPoliciesAdmitWhatIsNeededAndNothingElse(t *testing.T) {
	const named = "global.networkPolicies.usersFrom[0].namespaceSelector.matchLabels.name=edge"
	for name, set := range map[string][]string{
		"defaults":                  nil,
		"users named":               {named},
		"an operator elsewhere":     {"cloudnative-pg.enabled=false"},
		"paths closed":              {closes},
		"paths closed, users named": {closes, named},
	} {
		t.Run(name, func(t *testing.T) {
			n := networkOf(t, renderAll(t, set...).Objects)
			needed := map[contract.Flow]bool{}
			ports := map[string]map[int32]bool{}
			for _, flow := range slices.Concat(contract.Flows(), contract.ModuleFlows()) {
				needed[flow] = true
				if ports[flow.To] == nil {
					ports[flow.To] = map[int32]bool{}
				}
				ports[flow.To][flow.Port] = true
			}
			for to := range ports {
				for _, port := range contract.ClosedPorts(to) {
					ports[to][port] = true
				}
			}
			for to := range ports {
				for port := range ports[to] {
					for from := range n.hosts {
						want := needed[contract.Flow{From: from, To: to, Port: port}]
						if needed[contract.Flow{From: contract.Anyone, To: to, Port: port}] {
							// The relay asks everybody for credentials. Users come by the front where it has the node port.
							own := to == "coturn" || slices.Contains(callers[to], from)
							behind := slices.Contains(set, closes) && to == "cp" && port == 3000
							want = own || !slices.Contains(set, named) && !behind
						}
						if got := n.admits(n.hosts[from], n.hosts[to], port); got != want {
							t.Errorf("%s to %s port %d: admitted %t, want %t", from, to, port, got, want)
						}
					}
				}
			}
		})
	}
}

// Helm applies policies before Services: while the node port changes hands, users still come by the control plane's own.
func TestPoliciesLetUsersInWhileTheNodePortChangesHands(t *testing.T) {
	for name, c := range map[string]struct {
		types map[string]string
		set   []string
		open  bool
	}{
		"a new installation":       {nil, nil, false},
		"an upgrade from 0.1.0":    {map[string]string{"nap-cp": "NodePort"}, nil, true},
		"the port changes hands":   {map[string]string{"nap-cp": "NodePort"}, []string{closes}, true},
		"the upgrade after that":   {map[string]string{"nap-cp": "ClusterIP", "nap-front": "NodePort"}, []string{closes}, false},
		"the paths are opened":     {map[string]string{"nap-cp": "ClusterIP", "nap-front": "NodePort"}, []string{opens}, true},
		"users came by an Ingress": {map[string]string{"nap-cp": "ClusterIP"}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := networkOf(t, renderFor(t, target{set: c.set, answer: services(c.types)}).Objects)
			user := n.hosts["a pod of another namespace"]
			if got := n.admits(user, n.hosts["cp"], 3000); got != c.open {
				t.Errorf("users reach port 3000 of the control plane: %t, want %t", got, c.open)
			}
			if !n.admits(user, n.hosts["cp"], platform.TheFront().Port) {
				t.Error("users do not reach the front")
			}
		})
	}
}

// The API server asks the operator's webhook, from an address of its node that no selector names.
func TestPoliciesLeaveTheWebhookOpen(t *testing.T) {
	n := networkOf(t, renderAll(t).Objects)
	to := n.hosts[contract.Operator]
	if to.namespace != namespace {
		t.Fatalf("the operator is in namespace %s, want %s", to.namespace, namespace)
	}
	admitted := false
	for _, policy := range n.policies {
		if policy.Namespace != to.namespace || !n.selects(&policy.Spec.PodSelector, to.labels) {
			continue
		}
		if policy.Name != "nap-operator" {
			t.Errorf("NetworkPolicy %s holds for the operator", policy.Name)
		}
		for _, rule := range policy.Spec.Ingress {
			admitted = admitted || len(rule.From) == 0 && len(rule.Ports) == 1 && rule.Ports[0].Port.IntValue() == 9443
		}
	}
	if !admitted {
		t.Error("no NetworkPolicy admits everyone to port 9443 of the operator")
	}
}

// A pod that serves nobody is closed on every port.
func TestPoliciesIsolateEveryPod(t *testing.T) {
	n := networkOf(t, renderAll(t).Objects)
	for _, to := range slices.Sorted(maps.Keys(n.hosts)) {
		if _, stranger := strangers[to]; stranger || to == contract.Operator {
			continue
		}
		for from, h := range strangers {
			if n.admits(h, n.hosts[to], 1) {
				t.Errorf("%s reaches any port of %s", from, to)
			}
		}
	}
}

// Where models, directories and repositories are is not known, so only services that make no
// calls are kept from making some. What all services are kept from is another test's.
func TestPoliciesLeaveCallsOpen(t *testing.T) {
	n := networkOf(t, renderAll(t, "global.networkPolicies.metadataEgress=open").Objects)
	for name, h := range n.hosts {
		closed := false
		for _, policy := range n.policies {
			if policy.Namespace == h.namespace && n.selects(&policy.Spec.PodSelector, h.labels) {
				closed = closed || slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
				if len(policy.Spec.Egress) > 0 {
					t.Errorf("NetworkPolicy %s has rules for calls, want none or all", policy.Name)
				}
			}
		}
		if want := slices.Contains(contract.CallsNobody(), name); closed != want {
			t.Errorf("%s: calls forbidden %t, want %t", name, closed, want)
		}
	}
}

func TestPoliciesCanBeTurnedOff(t *testing.T) {
	for _, object := range ours(renderAll(t, "global.networkPolicies.enabled=false").Objects) {
		if object.GetKind() == "NetworkPolicy" {
			t.Errorf("global.networkPolicies.enabled=false: %s is rendered", object)
		}
	}
}

// An installation may keep its workspaces beside its services, and policies must know the two apart.
func TestPoliciesHoldInOneNamespace(t *testing.T) {
	n := networkOf(t, render(t, "global.workspaces.namespace="+namespace).Objects)
	tos := host{namespace: namespace, labels: labels.Set{"app": platform.WorkspaceApp}}
	for _, test := range []struct {
		from, to host
		port     int32
		want     bool
	}{
		{n.hosts["cp"], tos, platform.WorkspacePort, true},
		{tos, tos, platform.WorkspacePort, false},
		{tos, n.hosts["afs-controller"], 9100, true},
		{tos, n.hosts[contract.Database], 5432, false},
	} {
		if got := n.admits(test.from, test.to, test.port); got != test.want {
			t.Errorf("%s to port %d of %s: admitted %t, want %t", fmt.Sprint(test.from.labels), test.port, fmt.Sprint(test.to.labels), got, test.want)
		}
	}
}
