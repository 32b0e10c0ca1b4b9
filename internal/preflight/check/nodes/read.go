// Package nodes checks whether the nodes can take the pods, and whether the pods find there what they need.
package nodes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return append([]preflight.Check{
		{ID: "nodes.ready", Title: "Nodes are ready", Needs: preflight.Cluster, Severity: preflight.Error, Run: ready},
		{ID: "nodes.match", Title: "Every pod has a node that its selector, tolerations and size let it on", Needs: preflight.Cluster, Severity: preflight.Error, Run: match},
		{ID: "nodes.capacity", Title: "The nodes have room for all pods, and for a second one of those that a rollout doubles", Needs: preflight.Cluster, Severity: preflight.Error, Run: capacity},
		{ID: "nodes.size", Title: "Nodes have 4 CPUs and 8 GB of memory", Needs: preflight.Cluster, Severity: preflight.Warning, Run: size},
	}, probes()...)
}

func ready(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return readiness(nodes), nil
}

func readiness(nodes []corev1.Node) []preflight.Finding {
	var findings []preflight.Finding
	var away []string
	usable := 0
	for i := range nodes {
		node := &nodes[i]
		if !cluster.Ready(node) {
			away = append(away, node.Name)
			continue
		}
		usable++
		for _, condition := range node.Status.Conditions {
			if condition.Type != corev1.NodeReady && condition.Status == corev1.ConditionTrue && strings.HasSuffix(string(condition.Type), "Pressure") {
				findings = append(findings, preflight.Finding{
					Node: node.Name, Severity: preflight.Warning,
					Found: fmt.Sprintf("node %s reports %s: %s", node.Name, condition.Type, condition.Message),
					Why:   "it takes no more pods, and may throw out those it has",
					Fix:   "free what it lacks: kubectl describe node " + node.Name,
				})
			}
		}
	}
	if usable == 0 {
		return []preflight.Finding{{
			Found: fmt.Sprintf("none of %d nodes is ready", len(nodes)), Why: "no pod can start",
			Fix: "look at what the nodes say: kubectl describe nodes",
		}}
	}
	if len(away) > 0 {
		findings = append(findings, preflight.Finding{
			Node: away[0], Severity: preflight.Warning,
			Found: fmt.Sprintf("%d of %d nodes are not ready: %s", len(away), len(nodes), some(away)),
			Why:   "they are left out of all that follows",
			Fix:   "look at what they say: kubectl describe node " + away[0],
		})
	}
	return findings
}

func match(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return matches(nodes, s.Requirements.Pods), nil
}

func matches(nodes []corev1.Node, pods []requirement.Pod) []preflight.Finding {
	var findings []preflight.Finding
	for i := range pods {
		pod := &pods[i]
		if pod.EveryNode {
			continue
		}
		asks := cluster.RequestsOf(&pod.Spec)
		reasons := map[string]int{}
		for j := range nodes {
			reason := cluster.Unfit(&nodes[j], &pod.Spec)
			switch {
			case !cluster.Ready(&nodes[j]):
				reason = "not ready"
			case reason == "" && !holds(cluster.AmountOf(nodes[j].Status.Allocatable), asks):
				reason = "too small"
			}
			if reason == "" {
				reasons = nil
				break
			}
			reasons[reason]++
		}
		if reasons == nil {
			continue
		}
		findings = append(findings, preflight.Finding{
			Object: pod.Owner, Value: pod.Value,
			Found: fmt.Sprintf("none of %d nodes takes %s, for %s, which asks for %s: %s", len(nodes), pod.Owner, pod.Why, describe(asks), counted(reasons)),
			Why:   "the pod stays Pending for ever",
			Fix:   fix(pod, reasons),
		})
	}
	return findings
}

func fix(pod *requirement.Pod, reasons map[string]int) string {
	value := pod.Value
	if value == "" {
		value = "its nodeSelector, tolerations or resources"
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		switch {
		case strings.HasPrefix(reason, "no label "):
			return fmt.Sprintf("kubectl label node NAME %s, or change %s", strings.TrimPrefix(reason, "no label "), value)
		case strings.HasPrefix(reason, "taint "):
			return fmt.Sprintf("tolerate the taint in %s, or remove it from a node", value)
		}
	}
	return fmt.Sprintf("add a node that fits, or change %s", value)
}

// The size that the platform's documentation asks of a node. A machine sold with 8 GB shows a little less.
const (
	wantedCPU    = 4000
	wantedMemory = 7 << 30
)

func size(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return sizes(nodes), nil
}

func sizes(nodes []corev1.Node) []preflight.Finding {
	var small []string
	for i := range nodes {
		node := &nodes[i]
		if cluster.Keeps(node, nil) != "" {
			continue
		}
		if has := cluster.AmountOf(node.Status.Capacity); has.MilliCPU < wantedCPU || has.Memory < wantedMemory {
			small = append(small, fmt.Sprintf("%s (%s)", node.Name, describe(has)))
		}
	}
	if len(small) == 0 {
		return nil
	}
	name, _, _ := strings.Cut(small[0], " ")
	return []preflight.Finding{{
		Node:  name,
		Found: fmt.Sprintf("%d nodes have less than 4 CPUs and 8 GB of memory: %s", len(small), some(small)),
		Why:   "few workspaces run there side by side, each of which takes up to 500m CPU and 1Gi, and more in larger sizes",
		Fix:   "use larger nodes, or keep workspaces off these with global.workspaces.nodeSelector",
	}}
}

// some names a few of many.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

func counted(reasons map[string]int) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		parts = append(parts, fmt.Sprintf("%d × %s", reasons[reason], reason))
	}
	return some(parts)
}
