package network

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const present = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: work}}`

func requirements() *requirement.Set {
	policy := &unstructured.Unstructured{}
	policy.SetKind("NetworkPolicy")
	return &requirement.Set{
		Namespace: "nap", Workspaces: "work", Prefix: "nap", Objects: []requirement.Object{{Unstructured: policy}},
		Images: []requirement.Image{{Ref: "example.com/cp:1"}, {Ref: "docker.io/library/x:1"}},
	}
}

func subject(t *testing.T, nodes *probetest.Nodes, set *requirement.Set) *preflight.Subject {
	t.Helper()
	s := checktest.Subject(t, nodes.Server, set)
	s.Probes = nodes.Session("nap")
	t.Cleanup(func() {
		if err := s.Probes.Close(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return s
}

func onNodes(pods []probetest.Pod) []string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Node)
	}
	slices.Sort(names)
	return names
}

// failing lets one task fail on one node.
func failing(node, task, message string, facts agent.Facts) func(string, agent.Task) *agent.Result {
	return func(on string, of agent.Task) *agent.Result {
		if on != node || of.ID != task {
			return nil
		}
		return &agent.Result{Error: message, Facts: facts}
	}
}

func TestFindings(t *testing.T) {
	for name, c := range map[string]struct {
		check  string
		answer func(string, agent.Task) *agent.Result
		node   string
		want   []string
	}{
		"no names":           {"network.dns", failing("node2", "names", "no such host", nil), "node2", []string{"a pod there can't look up kubernetes.default.svc: no such host"}},
		"another domain":     {"network.dns", failing("node2", "domain", "no such host", agent.Facts{}), "node2", []string{"warning: the cluster's domain is not cluster.local"}},
		"no API server":      {"network.api-server", failing("node2", "clock", "refused", nil), "node2", []string{"a pod there does not reach the API server: refused"}},
		"policies hold":      {"network.policies", nil, "", nil},
		"policies do not":    {"network.policies", failing("node2", "isolated", "7002 is open", agent.Facts{agent.Reachable: agent.ReachableBoth}), "", []string{"does not enforce NetworkPolicies"}},
		"nothing is reached": {"network.policies", failing("node2", "isolated", "timeout", agent.Facts{agent.Reachable: agent.ReachableNone}), "node2", []string{"error: a pod on it does not reach a pod on node node1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := probetest.New(t, []string{"node1", "node2"}, present)
			nodes.Answer = c.answer
			findings := checktest.Run(t, Checks(), c.check, subject(t, nodes, requirements()))
			checktest.Want(t, findings, c.want...)
			for _, finding := range findings {
				if finding.Node != c.node {
					t.Errorf("it is said of node %q, want %q", finding.Node, c.node)
				}
			}
		})
	}
}

// Isolation is tried between two nodes where there are two: on one node a network plugin may do without its policies.
func TestPoliciesAreTriedAcrossNodes(t *testing.T) {
	nodes := probetest.New(t, []string{"node1", "node2", "node3"}, present)
	checktest.Want(t, checktest.Run(t, Checks(), "network.policies", subject(t, nodes, requirements())))
	server, client := onNodes(nodes.Placed("policy-server")), onNodes(nodes.Placed("policy-client"))
	if len(server) != 1 || len(client) != 1 || server[0] == client[0] {
		t.Errorf("the server ran on %v and the client on %v", server, client)
	}
}

// A node that takes no probe pod is told of; it does not pass for one that was looked at.
func TestANodeWithoutRoom(t *testing.T) {
	t.Parallel()
	nodes := probetest.New(t, []string{"node1", "node2"}, present)
	nodes.Unschedulable = func(node string, _ *corev1.Pod) string {
		if node == "node2" {
			return "0/2 nodes are available: 1 Too many pods. preemption: no victims"
		}
		return ""
	}
	s := subject(t, nodes, requirements())
	findings := checktest.Run(t, Checks(), "network.dns", s)
	checktest.Want(t, findings, "warning: the node takes no probe pod, so nothing is proved there: 0/2 nodes are available: 1 Too many pods")
	if findings[0].Node != "node2" {
		t.Errorf("it is said of node %q", findings[0].Node)
	}
}

func TestEgress(t *testing.T) {
	set := requirements()
	set.Directory = &requirement.Directory{URL: "ldaps://ldap.example.com"}
	set.Database = requirement.Database{Mode: "external", External: requirement.ExternalDatabase{Host: "db.example.com"}}
	set.Pods = []requirement.Pod{{Owner: "Deployment nap-cp", Spec: corev1.PodSpec{
		NodeSelector: map[string]string{"kubernetes.io/hostname": "node1"},
		Containers:   []corev1.Container{{Env: []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy:3128"}, {Name: "OTHER", Value: "x"}}}},
	}}}
	nodes := probetest.New(t, []string{"node1"}, present)
	nodes.Answer = func(_ string, task agent.Task) *agent.Result {
		switch {
		case task.Reach == nil:
			return nil
		case task.Reach.URL == "tcp://db.example.com:5432":
			return &agent.Result{Error: "timeout", Facts: agent.Facts{agent.Stage: agent.StageConnect}}
		case task.Reach.URL == "https://llm.example.com":
			return &agent.Result{Error: "no such host", Facts: agent.Facts{agent.Stage: agent.StageResolve}}
		}
		return nil
	}
	s := subject(t, nodes, set)
	s.Options.Models = []preflight.Model{{Agent: "codex", URL: "https://user:secret@llm.example.com/v1"}}
	findings := checktest.Run(t, Checks(), "network.egress", s)
	checktest.Want(t, findings,
		"it is not reached from where the control plane would run: no such host -> make the cluster's DNS know the name",
		"it is not reached from where the control plane would run: timeout -> open the way",
		"it is not reached from where a workspace would run: no such host")
	var asked []string
	for _, pod := range nodes.Placed("egress") {
		for _, task := range pod.Tasks {
			if strings.Contains(task.Reach.URL, "secret") {
				t.Errorf("a password is among the tasks: %s", task.Reach.URL)
			}
			asked = append(asked, pod.Namespace+" "+task.Reach.URL)
		}
		proxied := slices.ContainsFunc(pod.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == "HTTPS_PROXY" })
		if proxied != (pod.Namespace == "nap") {
			t.Errorf("the pod in %s has the proxy: %t", pod.Namespace, proxied)
		}
	}
	slices.Sort(asked)
	want := []string{
		"nap https://llm.example.com", "nap ldaps://ldap.example.com", "nap tcp://db.example.com:5432",
		"work https://example.com/v2/", "work https://llm.example.com", "work https://registry-1.docker.io/v2/",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
}
