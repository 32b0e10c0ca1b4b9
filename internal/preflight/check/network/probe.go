package network

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// probes are the checks that start pods.
func probes() []preflight.Check {
	pods := preflight.Cluster | preflight.Pods
	return []preflight.Check{
		{ID: "network.dns", Title: "Pods on every node find the cluster's services by name", Needs: pods, Severity: preflight.Error, Run: dns},
		{ID: "network.api-server", Title: "Pods on every node reach the API server", Needs: pods, Severity: preflight.Error, Run: apiServer},
		{ID: "network.egress", Title: "Pods reach what lies outside the cluster", Needs: pods, Severity: preflight.Error, Run: outside},
		{
			ID: "network.workspace-egress", Title: "Workspaces reach what they need, and nothing of the cluster's own network",
			Needs: pods, Severity: preflight.Error, Applies: limitsWorkspaces, Run: workspaceEgress,
		},
		{
			ID: "network.policies", Title: "NetworkPolicies are enforced", Needs: pods, Severity: preflight.Warning,
			Applies: usesPolicies, Run: policies,
		},
	}
}

func dns(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	return onnodes.Told(ctx, s, func(one onnodes.Report) []preflight.Finding {
		names, domain := one.Names, one.Domain
		if !names.OK() {
			return []preflight.Finding{{
				Node: one.Node, Found: "a pod there can't look up kubernetes.default.svc: " + names.Error,
				Why: "services find each other by such names",
				Fix: "look at the cluster's DNS (kubectl -n kube-system get pods -l k8s-app=kube-dns) and at what keeps pods on the node from it",
			}}
		}
		if !domain.OK() {
			return []preflight.Finding{{
				Node: one.Node, Severity: preflight.Warning,
				Found: fmt.Sprintf("the cluster's domain is not cluster.local (pods search %s)", names.Facts["search"]),
				Why:   "the chart's own names do without it, but what others write about the platform does not",
				Fix:   "in settings of your own, such as extraEnv and noProxy, write the cluster's domain",
			}}
		}
		return nil
	})
}

func apiServer(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	return onnodes.Told(ctx, s, func(one onnodes.Report) []preflight.Finding {
		if clock := one.Clock; !clock.OK() {
			return []preflight.Finding{{
				Node: one.Node, Found: "a pod there does not reach the API server: " + clock.Error,
				Why: "the control plane and the runner make workspaces through it, and PostgreSQL is run through it",
				Fix: "look at the node's network plugin and kube-proxy, and at policies that forbid it",
			}}
		}
		return nil
	})
}

func usesPolicies(s *preflight.Subject) (bool, string) {
	for _, object := range s.Requirements.Objects {
		if object.GetKind() == "NetworkPolicy" {
			return true, ""
		}
	}
	return false, "the release makes no NetworkPolicies (global.networkPolicies.enabled)"
}

const policyLabel = "neutree.ai/preflight-target"

// policies lets one pod serve two ports of which a policy opens one, and another pod, on another node if there is
// one, try both.
func policies(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := onnodes.Eligible(ctx, s, onnodes.Workspace(s.Requirements))
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, errors.New("no node is up that workspaces may run on")
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Restricted)
	if err != nil {
		return nil, err
	}
	target := map[string]string{policyLabel: "policy-" + s.Probes.ID()}
	const open, closed = 7001, 7002
	if err := s.Probes.Policy(ctx, namespace, target, open); err != nil {
		return nil, err
	}
	server, err := s.Probes.Start(ctx, probe.Pod{
		Purpose: "policy-server", Namespace: namespace, Node: nodes[0], Labels: target, Limit: 2 * time.Minute,
		Containers: []probe.Container{{Name: "probe", Tasks: []agent.Task{{ID: "serve", Serve: &agent.Serve{TCP: []int{open, closed}, Seconds: 110}}}}},
	})
	if err != nil {
		return onnodes.NotProved(err)
	}
	defer server.Stop()
	from := nodes[len(nodes)-1]
	outcome, err := s.Probes.Run(ctx, probe.Pod{
		Purpose: "policy-client", Namespace: namespace, Node: from,
		Containers: []probe.Container{{Name: "probe", Tasks: []agent.Task{{ID: "isolated", Isolated: &agent.Isolated{Host: server.IP, Open: open, Closed: closed}}}}},
	})
	if err != nil {
		return onnodes.NotProved(err)
	}
	result := outcome.Results["isolated"]
	switch {
	case result.OK():
		return nil, nil
	case result.Facts[agent.Reachable] == agent.ReachableNone:
		return []preflight.Finding{{
			Node: from, Severity: preflight.Error,
			Found: fmt.Sprintf("a pod on it does not reach a pod on node %s, although a NetworkPolicy lets it", nodes[0]),
			Why:   "services do not reach each other across nodes",
			Fix:   "look at the network plugin and at firewalls between the nodes: " + strings.TrimSpace(result.Error),
		}}, nil
	}
	return []preflight.Finding{{
		Value: "global.networkPolicies.enabled",
		Found: "the cluster's network plugin does not enforce NetworkPolicies: a port that one closes is reached",
		Why:   "every pod reaches the workspaces' port 3001, which asks for no password",
		Fix:   "use a network plugin that enforces them, such as Calico or Cilium",
	}}, nil
}
