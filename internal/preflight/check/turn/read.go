// Package turn checks whether the TURN server gets its ports, and whether users reach it.
package turn

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
		{ID: "turn.ports-free", Title: "No pod has the ports that are taken on a node", Needs: preflight.Cluster, Severity: preflight.Error, Applies: hostPorts, Run: hostPortsFree},
	}, probes()...)
}

func hostPorts(s *preflight.Subject) (bool, string) {
	return len(s.Requirements.HostPorts) > 0, "no pod takes a port on its node"
}

func hostPortsFree(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	pods, err := s.Cluster.Pods(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the pods of all nodes: %w", err)
	}
	return conflicts(nodes, pods, s.Requirements), nil
}

// conflicts looks, for each pod that takes ports of its node, for a node where all of them are free.
func conflicts(nodes []corev1.Node, pods []cluster.Pod, set *requirement.Set) []preflight.Finding {
	wanted := map[string][]requirement.HostPort{}
	var order []string
	for _, port := range set.HostPorts {
		if wanted[port.Owner] == nil {
			order = append(order, port.Owner)
		}
		wanted[port.Owner] = append(wanted[port.Owner], port)
	}
	var findings []preflight.Finding
	for _, owner := range order {
		i := slices.IndexFunc(set.Pods, func(p requirement.Pod) bool { return p.Owner == owner })
		if i < 0 {
			continue
		}
		_, own, _ := strings.Cut(owner, " ")
		own = set.Pods[i].Namespace + "/" + own[strings.LastIndex(own, "/")+1:] + "-"
		blocked := map[string]string{}
		candidates := 0
		for j := range nodes {
			if !cluster.Ready(&nodes[j]) || cluster.Unfit(&nodes[j], &set.Pods[i].Spec) != "" {
				continue
			}
			candidates++
			if holder := holder(nodes[j].Name, pods, wanted[owner], own); holder != "" {
				blocked[nodes[j].Name] = holder
			}
		}
		if candidates == 0 || len(blocked) < candidates {
			continue
		}
		node := slices.Min(slices.Collect(maps.Keys(blocked)))
		findings = append(findings, preflight.Finding{
			Object: owner, Node: node, Value: wanted[owner][0].Value,
			Found: fmt.Sprintf("on every node that %s can run on its ports are taken: on %s, %s",
				owner, node, blocked[node]),
			Why: "the pod stays Pending",
			Fix: "move the other pod, or let this one run on another node",
		})
	}
	return findings
}

// holder names the pod on a node that has one of the ports.
func holder(node string, pods []cluster.Pod, ports []requirement.HostPort, own string) string {
	for _, pod := range pods {
		if pod.Node != node || strings.HasPrefix(pod.Namespace+"/"+pod.Name, own) {
			continue
		}
		for _, host := range pod.HostPorts {
			for _, port := range ports {
				if host.Protocol == port.Protocol && host.Port >= port.Port && host.Port <= max(port.Port, port.Last) {
					return fmt.Sprintf("pod %s/%s has %d/%s", pod.Namespace, pod.Name, host.Port, host.Protocol)
				}
			}
		}
	}
	return ""
}
