package chart_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// egressPolicy is the policy that bootstrap applies for workspaces.
func egressPolicy(t *testing.T, objects []chart.Object) *networkingv1.NetworkPolicy {
	t.Helper()
	config := find[*corev1.ConfigMap](t, withoutCRDs(objects), namespace, specConfigMap(t, bootstrapJob(t, objects)))
	_, file, _ := strings.Cut(strings.TrimPrefix(bootstrapSpec(t, objects).Egress.Manifest, "/"), "/")
	policy := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict([]byte(config.Data[file]), policy); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return policy
}

// reaches says whether a policy lets a pod be reached by its labels.
func (n network) reaches(policy *networkingv1.NetworkPolicy, to host, port int32) bool {
	return slices.ContainsFunc(policy.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
		return n.opens(rule.Ports, to, port) && n.includes(rule.To, to, policy.Namespace)
	})
}

// Workspaces call the control plane and the AFS controller, and by their public origins sandboxes and browsers. What
// else the platform has they do not need.
func TestWorkspacesReachWhatTheyCall(t *testing.T) {
	for _, c := range []struct {
		name string
		set  []string
		want []string
	}{
		{"core", nil, []string{"afs-controller:9100", "cp:3000", "cp:3080"}},
		{"an Ingress", []string{"global.exposure.type=ingress", "global.host=nap.example.org"}, []string{"afs-controller:9100", "cp:3000"}},
		{"every module", everyModule, []string{"afs-controller:9100", "browser:3005", "cp:3000", "cp:3080", "sandbox:3006"}},
		{"one namespace", []string{"global.workspaces.namespace=" + namespace}, []string{"afs-controller:9100", "cp:3000", "cp:3080"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects := render(t, c.set...).Objects
			n, policy := networkOf(t, objects), egressPolicy(t, objects)
			if !n.selects(&policy.Spec.PodSelector, map[string]string{"app": platform.WorkspaceApp}) ||
				n.selects(&policy.Spec.PodSelector, map[string]string{"app": "nap-cp"}) {
				t.Errorf("podSelector %v is not that of workspaces alone", policy.Spec.PodSelector)
			}
			ports := map[int32]bool{1: true, 53: true, 9090: true, 9443: true}
			for _, flow := range slices.Concat(contract.Flows(), contract.ModuleFlows()) {
				ports[flow.Port] = true
			}
			var got []string
			for name, to := range n.hosts {
				for port := range ports {
					if n.reaches(policy, to, port) {
						got = append(got, fmt.Sprintf("%s:%d", name, port))
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("workspaces reach %v, want %v", got, c.want)
			}
			for _, app := range []string{"kube-dns", "coredns", "node-local-dns"} {
				dns := host{namespace: "kube-system", labels: map[string]string{"k8s-app": app}}
				if !n.reaches(policy, dns, 53) || n.reaches(policy, dns, 8053) {
					t.Errorf("the cluster's DNS (%s) is closed, or more than it is open", app)
				}
				dns.ports = map[string]int32{"dns": 8053, "dns-tcp": 8054, "metrics": 9153}
				if !n.reaches(policy, dns, 8053) || !n.reaches(policy, dns, 8054) || n.reaches(policy, dns, 9153) {
					t.Errorf("the cluster's DNS (%s) is closed on a port of its own, or more than it is open", app)
				}
			}
			other := host{namespace: "kube-system", labels: map[string]string{"k8s-app": "metrics-server"}}
			if n.reaches(policy, other, 53) {
				t.Error("other pods of kube-system are open")
			}
		})
	}
}

func TestEgressOfWorkspacesByAddress(t *testing.T) {
	const value = "global.networkPolicies.workspaceEgress."
	for name, c := range map[string]struct {
		set          []string
		open, closed []string
	}{
		"defaults": {
			open:   []string{"8.8.8.8:443", "8.8.8.8:22", "[2606:4700::1111]:443", "169.254.20.10:53", "[fd00::10]:53"},
			closed: []string{"169.254.169.254:80", "[fd00:ec2::254]:80", "10.96.0.1:443", "169.254.20.10:80", "10.0.0.1:53"},
		},
		"allow and deny": {
			set: []string{value + "allow[0].cidr=10.20.0.0/16", value + "allow[0].ports[0].port=443",
				value + "allow[1].cidr=fd12::/16", value + "deny[0]=203.0.113.0/24", value + "deny[1]=2001:db8::/32"},
			open:   []string{"10.20.1.1:443", "[fd12::1]:8000", "8.8.8.8:443", "[2606:4700::1111]:443"},
			closed: []string{"10.20.1.1:80", "10.21.1.1:443", "203.0.113.5:6443", "[2001:db8::1]:6443", "[fd00:ec2::254]:80"},
		},
		"an address on the LAN as host": {
			set:    slices.Concat(everyModule, []string{"global.host=192.168.7.9"}),
			open:   []string{"192.168.7.9:30080", "192.168.7.9:30085", "192.168.7.9:30086"},
			closed: []string{"192.168.7.9:6443", "192.168.7.9:10250", "192.168.7.10:30080"},
		},
		"an address in a public origin": {
			set:    []string{"global.exposure.type=clusterIP", "global.publicUrls.web=https://10.9.8.7"},
			open:   []string{"10.9.8.7:443"},
			closed: []string{"10.9.8.7:80"},
		},
		"other name servers": {
			set:    []string{value + "dns.addresses[0]=10.0.0.53/32"},
			open:   []string{"10.0.0.53:53"},
			closed: []string{"10.0.0.53:443", "169.254.20.10:53"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			policy := egressPolicy(t, render(t, c.set...).Objects)
			for _, address := range slices.Concat(c.open, c.closed) {
				want := slices.Contains(c.open, address)
				if got := egress.Allows(policy, netip.MustParseAddrPort(address), corev1.ProtocolTCP); got != want {
					t.Errorf("%s: allowed %t, want %t", address, got, want)
				}
			}
		})
	}
}

func TestEgressToNamesAndNamespaces(t *testing.T) {
	const value = "global.networkPolicies.workspaceEgress."
	objects := render(t, value+"allow[0].namespace=models", value+"allow[0].ports[0].port=8080",
		"global.openshift.enabled=true").Objects
	n, policy := networkOf(t, objects), egressPolicy(t, objects)
	models := host{namespace: "models", labels: map[string]string{"app": "vllm"}}
	if !n.reaches(policy, models, 8080) || n.reaches(policy, models, 8081) {
		t.Error("port 8080 of namespace models is closed, or more than it is open")
	}
	dns := host{namespace: "openshift-dns", labels: map[string]string{"dns.operator.openshift.io/daemonset-dns": "default"}}
	if !n.reaches(policy, dns, 5353) {
		t.Error("the DNS of OpenShift is closed")
	}
	ports := egressPolicy(t, render(t, value+"dns.ports[0]=8053").Objects)
	dns = host{namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}, ports: map[string]int32{"dns": 54}}
	if !n.reaches(ports, dns, 8053) || n.reaches(ports, dns, 53) || n.reaches(ports, dns, 54) {
		t.Error("the ports of the cluster's DNS are not those of the values")
	}
}

// The policy is no part of the release: only the database can say whether an installation is new. So who renders the
// release can't prune it.
func TestThePolicyForEgressIsBootstrapsAlone(t *testing.T) {
	rendered := renderAll(t)
	policy := egressPolicy(t, rendered.Objects)
	spec := bootstrapSpec(t, rendered.Objects)
	if spec.Egress.Policy != policy.Name || spec.Egress.Mode != egress.Auto || policy.Namespace != workspace {
		t.Errorf("bootstrap.yaml: egress = %+v, and the policy is %s/%s", spec.Egress, policy.Namespace, policy.Name)
	}
	if _, is := policy.Labels["app.kubernetes.io/instance"]; is {
		t.Errorf("labels %v: ArgoCD would take it for an object of the release", slices.Sorted(maps.Keys(policy.Labels)))
	}
	for _, object := range rendered.Objects {
		if object.GetKind() == "NetworkPolicy" && object.GetName() == policy.Name {
			t.Errorf("%s: it is rendered", object)
		}
	}
	want := map[string][]string{
		"nap-bootstrap-workspaces": {"get", "create", "patch", "delete"},
		"nap-teardown-workspaces":  {"get", "delete"},
	}
	for _, object := range ours(rendered.Objects) {
		role, is := typed(t, object).(*rbacv1.Role)
		if !is {
			continue
		}
		for _, rule := range role.Rules {
			if !slices.Contains(rule.Resources, "networkpolicies") {
				continue
			}
			if !slices.Equal(rule.ResourceNames, []string{policy.Name}) || !slices.Equal(rule.Verbs, want[role.Name]) ||
				role.Namespace != workspace {
				t.Errorf("%s: %v", object, rule)
			}
			delete(want, role.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("no rights over the policy in %v", want)
	}
	off := bootstrapSpec(t, render(t, "global.networkPolicies.enabled=false").Objects).Egress
	if off.Manifest != "" || off.Policy != policy.Name {
		t.Errorf("with global.networkPolicies.enabled=false: %+v", off)
	}
}

func TestNotesSayWhatWorkspacesConnectTo(t *testing.T) {
	const limited, open = "to the platform and to the internet", "Warning: workspaces may connect to anything"
	live := func(names ...string) func(chart.Lookup) map[string]any {
		return func(asked chart.Lookup) map[string]any {
			if asked.Kind != "NetworkPolicy" || asked.Namespace != workspace || !slices.Contains(names, asked.Name) {
				return nil
			}
			return map[string]any{"metadata": map[string]any{"name": asked.Name}}
		}
	}
	for name, c := range map[string]struct {
		to   target
		want string
	}{
		"a new installation": {target{}, "Workspaces of a new installation may connect " + limited},
		"a new release, maybe on an older database": {target{}, limited + ", not to private networks. If\nan LLM endpoint, " +
			"a Git server or an MCP server has a private address, add it to\nglobal.networkPolicies.workspaceEgress.allow. " +
			"On a database that version 0.1.0 set up, workspaces stay\nunlimited until you set " +
			"global.networkPolicies.workspaceEgress.mode=closed."},
		"an upgrade":                          {target{upgrade: true, answer: live("nap-workspaces", "nap-workspaces-egress")}, limited},
		"an upgrade of an older one":          {target{upgrade: true, answer: live("nap-workspaces")}, open},
		"an upgrade without a cluster to ask": {target{upgrade: true}, limited},
		"closed": {target{upgrade: true, answer: live("nap-workspaces"),
			set: []string{"global.networkPolicies.workspaceEgress.mode=closed"}}, "Workspaces may connect " + limited},
		"open":                    {target{set: []string{"global.networkPolicies.workspaceEgress.mode=open"}}, open},
		"without NetworkPolicies": {target{set: []string{"global.networkPolicies.enabled=false"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			notes := renderFor(t, c.to).Notes
			for _, sentence := range []string{limited, open} {
				if got := strings.Contains(notes, sentence); got != strings.Contains(c.want, sentence) {
					t.Errorf("NOTES.txt says %q: %t\n%s", sentence, got, notes)
				}
			}
			if !strings.Contains(notes, c.want) {
				t.Errorf("NOTES.txt does not say %q:\n%s", c.want, notes)
			}
			for _, line := range strings.Split(notes, "\n") {
				if len(line) > 120 && strings.Contains(line, "orkspaces may connect") {
					t.Errorf("a line of %d columns: %s", len(line), line)
				}
			}
		})
	}
}

// What fetches addresses that users give does not reach a metadata service, and everything else it does.
func TestServicesDoNotReachMetadataServices(t *testing.T) {
	const value = "global.networkPolicies.metadataEgress="
	cilium := []string{"cilium.io/v2"}
	for name, c := range map[string]struct {
		to     target
		closed bool
	}{
		"by default":           {target{}, true},
		"with Cilium":          {target{apis: cilium}, false},
		"closed with Cilium":   {target{apis: cilium, set: []string{value + "closed"}}, true},
		"open":                 {target{set: []string{value + "open"}}, false},
		"without any policies": {target{set: []string{value + "closed", "global.networkPolicies.enabled=false"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := networkOf(t, renderFor(t, c.to).Objects)
			for _, service := range []string{"cp", "cg", "skills", "scheduler", "env-runner-k8s"} {
				h := n.hosts[service]
				var policies []*networkingv1.NetworkPolicy
				for _, policy := range n.policies {
					if policy.Namespace == h.namespace && n.selects(&policy.Spec.PodSelector, h.labels) &&
						slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
						policies = append(policies, policy)
					}
				}
				reaches := func(address string, protocol corev1.Protocol) bool {
					return len(policies) == 0 || slices.ContainsFunc(policies, func(p *networkingv1.NetworkPolicy) bool {
						return egress.Allows(p, netip.MustParseAddrPort(address), protocol)
					})
				}
				closed := c.closed && service != "env-runner-k8s"
				for _, address := range []string{"169.254.169.254:80", "169.254.170.2:80", "[fd00:ec2::254]:80",
					"[fe80::1]:443", "168.63.129.16:80", "100.100.100.200:80", "[64:ff9b::a9fe:a9fe]:80"} {
					if got := reaches(address, corev1.ProtocolTCP); got == closed {
						t.Errorf("%s to %s: %t, want %t", service, address, got, !closed)
					}
				}
				for _, address := range []string{"169.254.169.254:53", "169.254.20.10:53", "10.0.0.1:443", "203.0.113.9:443",
					"[2001:db8::1]:443", "[fd00::1]:6443", "100.64.0.1:443"} {
					if !reaches(address, corev1.ProtocolTCP) {
						t.Errorf("%s does not reach %s", service, address)
					}
				}
				for _, policy := range policies {
					if !n.reaches(policy, n.hosts[contract.Database], 5432) ||
						!n.reaches(policy, strangers["a pod of another namespace"], 80) {
						t.Errorf("NetworkPolicy %s keeps %s from pods", policy.Name, service)
					}
				}
			}
		})
	}
}
