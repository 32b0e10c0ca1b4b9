package network

import (
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const livePolicy = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: nap-workspaces-egress, namespace: work}}`

func limiting(t *testing.T, mode string) *requirement.Set {
	t.Helper()
	set := requirements()
	set.Egress = requirement.Egress{Mode: mode, Policy: &networkingv1.NetworkPolicy{}}
	const policy = `
metadata: {name: nap-workspaces-egress}
spec:
  podSelector: {matchLabels: {app: tos}}
  policyTypes: [Egress]
  egress:
    - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 169.254.0.0/16]}}]
    - to: [{ipBlock: {cidr: 10.7.0.0/16}}]
      ports: [{port: 8000}]
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: models}}}]
`
	if err := yaml.UnmarshalStrict([]byte(policy), set.Egress.Policy); err != nil {
		t.Fatal(err)
	}
	return set
}

// resolving answers for names, and for what is closed.
func resolving(hosts map[string]string, shut *agent.Result) func(string, agent.Task) *agent.Result {
	return func(_ string, task agent.Task) *agent.Result {
		switch {
		case task.Shut != nil:
			return shut
		case task.Resolve == nil || hosts[task.Resolve.Names[0]] == "":
			return nil
		}
		return &agent.Result{Facts: agent.Facts{agent.Addresses: hosts[task.Resolve.Names[0]]}}
	}
}

func TestWhatThePolicyCuts(t *testing.T) {
	set := limiting(t, "closed")
	set.Exposure.URLs = map[string]string{"web": "http://10.0.0.9", "browser": "https://browsers.example.com",
		"sandbox": "http://localhost:30086"}
	nodes := probetest.New(t, []string{"node1"}, present)
	nodes.Answer = resolving(map[string]string{
		"llm.corp": "10.1.2.3 fd00::3", "open.corp": "10.7.0.1", "public.example.com": "8.8.8.8",
		"vllm.models.svc.cluster.local": "10.96.1.1", "vllm.other.svc": "10.96.1.2", "browsers.example.com": "10.0.0.10",
	}, nil)
	s := subject(t, nodes, set)
	for _, u := range []string{"https://me:secret@llm.corp/v1", "http://open.corp:8000", "https://public.example.com",
		"http://vllm.models.svc.cluster.local:80", "http://vllm.other.svc:80", "https://127.0.0.1"} {
		s.Options.Models = append(s.Options.Models, preflight.Model{Agent: "codex", URL: u})
	}
	const value = "--set-json 'global.networkPolicies.workspaceEgress.allow="
	findings := checktest.Run(t, Checks(), "network.workspace-egress", s)
	checktest.Want(t, findings,
		"error: the NetworkPolicy for workspaces cuts it: it leads to 10.1.2.3, fd00::3, port 443 -> set it with "+value+
			`[{"cidr":"10.1.2.3/32","ports":[{"port":443}]},{"cidr":"fd00::3/128","ports":[{"port":443}]}]'`,
		"error: the NetworkPolicy for workspaces cuts it: it leads to 10.96.1.2, port 80 -> set it with "+value+
			`[{"namespace":"other"}]'`,
		"warning: the NetworkPolicy for workspaces cuts it: it leads to 10.0.0.10, port 443")
	if findings[0].Object != "https://llm.corp" || findings[0].Why != "agents of type codex cannot reach their model" {
		t.Errorf("%+v", findings[0])
	}
}

func TestThePolicyIsTriedOnAPod(t *testing.T) {
	nodes := probetest.New(t, []string{"node1"}, present)
	s := subject(t, nodes, limiting(t, "auto"))
	checktest.Want(t, checktest.Run(t, Checks(), "network.workspace-egress", s))
	pods := nodes.Placed("workspace-egress")
	if len(pods) != 1 || pods[0].Namespace != "work" || pods[0].Labels["app"] == "tos" {
		t.Fatalf("pods %v", pods)
	}
	made := slices.IndexFunc(nodes.Changes(), func(r kubetest.Request) bool {
		return r.Method == "POST" && strings.HasSuffix(r.Path, "/"+kube.NetworkPolicies.Resource)
	})
	if made < 0 {
		t.Fatal("no policy was made")
	}
	raw, err := yaml.Marshal(nodes.Changes()[made].Body["spec"])
	if err != nil {
		t.Fatal(err)
	}
	policy := &networkingv1.NetworkPolicySpec{}
	if err := yaml.Unmarshal(raw, policy); err != nil {
		t.Fatal(err)
	}
	for label, value := range policy.PodSelector.MatchLabels {
		if pods[0].Labels[label] != value || len(policy.Egress) != 3 {
			t.Errorf("the policy is not that of workspaces for the pod alone: %s", raw)
		}
	}
}

func TestAddressesThatAreNotShut(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(string, agent.Task) *agent.Result
		want   string
	}{
		"the API server": {
			resolving(nil, &agent.Result{Error: "open", Facts: agent.Facts{agent.Reached: apiServerAddress}}),
			"warning: a workspace would reach kubernetes.default.svc:443, although its NetworkPolicy is to keep it from there",
		},
		"the metadata service": {
			resolving(nil, &agent.Result{Error: "open", Facts: agent.Facts{agent.Reached: "169.254.169.254:80"}}),
			"global.networkPolicies.workspaceEgress.deny",
		},
		"no names": {
			failing("node1", "names", "i/o timeout", nil),
			"a workspace would find no names: under its NetworkPolicy a pod cannot look up kubernetes.default.svc: i/o timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := probetest.New(t, []string{"node1"}, present)
			nodes.Answer = c.answer
			s := subject(t, nodes, limiting(t, "closed"))
			checktest.Want(t, checktest.Run(t, Checks(), "network.workspace-egress", s), c.want)
		})
	}
}

func TestWhetherThePolicyHolds(t *testing.T) {
	const model = "https://llm.corp"
	for name, c := range map[string]struct {
		mode, live string
		upgrade    bool
		want       []string
	}{
		"new": {"auto", "", false, []string{"error: the NetworkPolicy for workspaces cuts it"}},
		"existing and open": {"auto", "", true, []string{
			"warning: workspaces may connect to anything", "note: the NetworkPolicy for workspaces would cut it",
		}},
		"existing and limited":    {"auto", livePolicy, true, []string{"error: the NetworkPolicy for workspaces cuts it"}},
		"existing, to be limited": {"closed", "", true, []string{"error: the NetworkPolicy for workspaces cuts it"}},
		"open on purpose": {"open", livePolicy, true, []string{
			"note: workspaces may connect to anything, as", "note: the NetworkPolicy for workspaces would cut it",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := probetest.New(t, []string{"node1"}, strings.Trim(present+"\n---\n"+c.live, "-\n"))
			nodes.Answer = resolving(map[string]string{"llm.corp": "10.1.2.3"}, nil)
			s := subject(t, nodes, limiting(t, c.mode))
			s.Options.Upgrade, s.Options.Models = c.upgrade, []preflight.Model{{Agent: "codex", URL: model}}
			checktest.Want(t, checktest.Run(t, Checks(), "network.workspace-egress", s), c.want...)
		})
	}
}

// An install on a database that exists is limited or not by what set up that database.
func TestWhetherThePolicyHoldsIsUpToADatabaseThatExists(t *testing.T) {
	const kept = "{apiVersion: postgresql.cnpg.io/v1, kind: Cluster, metadata: {name: nap-pg, namespace: nap}}"
	const cuts = "error: the NetworkPolicy for workspaces cuts it"
	const may = "warning: the NetworkPolicy for workspaces may cut it"
	cnpg := requirement.Database{Mode: "cnpg", Cluster: "nap-pg"}
	external := requirement.Database{Mode: "external", External: requirement.ExternalDatabase{Host: "db.corp"}}
	for name, c := range map[string]struct {
		mode, live string
		database   requirement.Database
		want       []string
	}{
		"no Cluster yet": {"auto", "", cnpg, []string{cuts}},
		"a Cluster": {"auto", kept, cnpg, []string{
			"note: whether workspaces are limited was not checked: Cluster nap/nap-pg decides -> set " +
				"global.networkPolicies.workspaceEgress.mode=closed to limit them in any case", may}},
		"a Cluster, and the policy": {"auto", kept + "\n---\n" + livePolicy, cnpg, []string{cuts}},
		"a Cluster, closed":         {"closed", kept, cnpg, []string{cuts}},
		"an external database": {"auto", "", external, []string{
			"note: whether workspaces are limited was not checked: external PostgreSQL db.corp decides", may}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := probetest.New(t, []string{"node1"}, strings.Trim(present+"\n---\n"+c.live, "-\n"))
			nodes.Answer = resolving(map[string]string{"llm.corp": "10.1.2.3"}, nil)
			set := limiting(t, c.mode)
			set.Database = c.database
			s := subject(t, nodes, set)
			s.Options.Models = []preflight.Model{{Agent: "codex", URL: "https://llm.corp"}}
			checktest.Want(t, checktest.Run(t, Checks(), "network.workspace-egress", s), c.want...)
		})
	}
}

// The name servers of nodes count as open, as bootstrap opens them.
func TestNameServersOfNodesAreOpen(t *testing.T) {
	nodes := probetest.New(t, []string{"node1"}, present)
	nodes.Answer = func(_ string, task agent.Task) *agent.Result {
		if task.ID != "names" {
			return nil
		}
		return &agent.Result{Facts: agent.Facts{agent.NameServers: "nameserver 10.96.0.10"}}
	}
	s := subject(t, nodes, limiting(t, "closed"))
	checktest.Want(t, checktest.Run(t, Checks(), "network.workspace-egress", s))
	found := slices.ContainsFunc(nodes.Changes(), func(r kubetest.Request) bool {
		raw, err := yaml.Marshal(r.Body)
		return err == nil && strings.Contains(string(raw), "cidr: 10.96.0.10/32")
	})
	if !found {
		t.Error("the policy does not name them")
	}
}

// In a cluster of one IP family the policy names no range of another, and addresses of another are of no use to pods.
func TestThePolicyIsForTheFamiliesOfPods(t *testing.T) {
	for podIPs, want := range map[string][]string{
		"10.244.0.7":      {"it leads to 10.1.2.3, port 443"},
		"fd00:10:244::7":  {"it leads to fd00::3, port 443"},
		"10.0.0.7,fd00::": {"it leads to 10.1.2.3, fd00::3, port 443"},
	} {
		t.Run(podIPs, func(t *testing.T) {
			nodes := probetest.New(t, []string{"node1"}, present)
			hosts := resolving(map[string]string{"llm.corp": "10.1.2.3 fd00::3"}, nil)
			nodes.Answer = func(node string, task agent.Task) *agent.Result {
				if task.ID == "names" {
					return &agent.Result{Facts: agent.Facts{agent.PodIPs: podIPs}}
				}
				return hosts(node, task)
			}
			set := limiting(t, "closed")
			set.Egress.Policy.Spec.Egress = append(set.Egress.Policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{
				To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "2000::/3"}}},
			})
			s := subject(t, nodes, set)
			s.Options.Models = []preflight.Model{{Agent: "codex", URL: "https://llm.corp"}}
			checktest.Want(t, checktest.Run(t, Checks(), "network.workspace-egress", s), want...)
			var made string
			for _, change := range nodes.Changes() {
				if change.Method == "POST" && strings.HasSuffix(change.Path, "/"+kube.NetworkPolicies.Resource) {
					raw, err := yaml.Marshal(change.Body)
					if err != nil {
						t.Fatal(err)
					}
					made = string(raw)
				}
			}
			for cidr, mark := range map[string]string{"0.0.0.0/0": ".", "2000::/3": ":"} {
				if got := strings.Contains(made, cidr); got != strings.Contains(podIPs, mark) {
					t.Errorf("the policy that was tried names %s: %t\n%s", cidr, got, made)
				}
			}
		})
	}
}
