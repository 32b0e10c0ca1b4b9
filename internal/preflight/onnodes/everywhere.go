package onnodes

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// Report is what the probe of one node says.
type Report struct {
	Node string
	// Names, Domain and Clock are the results of looking up a Service by its short and by its full name, and of
	// comparing clocks with the API server.
	Names, Domain, Clock agent.Result

	// missing says why there are no results.
	missing []preflight.Finding
}

// The tasks that every node's probe does.
const (
	taskNames  = "names"
	taskDomain = "domain"
	taskClock  = "clock"
)

const apiServerURL = "https://kubernetes.default.svc:443/version"

// everywhere runs one probe on every node that services or workspaces may run on, once for all checks.
func everywhere(ctx context.Context, s *preflight.Subject) ([]Report, error) {
	return cluster.Once(ctx, s.Cluster, "onnodes/everywhere", func(ctx context.Context) ([]Report, error) {
		nodes, err := Eligible(ctx, s, Workspace(s.Requirements))
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
		all := make([]Report, len(nodes))
		indices := make([]int, len(nodes))
		for i := range indices {
			indices[i] = i
		}
		_, err = Each(ctx, indices, func(ctx context.Context, i int) ([]preflight.Finding, error) {
			all[i].Node = nodes[i]
			outcome, err := s.Probes.Run(ctx, probe.Pod{
				Purpose: "node", Namespace: namespace, Node: nodes[i], Limit: 40 * time.Second,
				Containers: []probe.Container{{Name: "probe", Env: podIPs(), Tasks: []agent.Task{
					{ID: taskNames, Resolve: &agent.Resolve{Names: []string{"kubernetes.default.svc"}}},
					{ID: taskDomain, Resolve: &agent.Resolve{Names: []string{"kubernetes.default.svc.cluster.local."}}},
					{ID: taskClock, Clock: &agent.Clock{URL: apiServerURL}},
				}}},
			})
			if err != nil {
				all[i].missing, err = NotProved(err)
				return nil, err
			}
			results := outcome.Results
			all[i].Names, all[i].Domain, all[i].Clock = results[taskNames], results[taskDomain], results[taskClock]
			return nil, nil
		})
		return all, err
	})
}

// podIPs shows a pod its own addresses.
func podIPs() []corev1.EnvVar {
	field := &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}
	return []corev1.EnvVar{{Name: egress.PodIPs, ValueFrom: &corev1.EnvVarSource{FieldRef: field}}}
}

// Told makes findings of what the probe of each node says. One probe is run on each node for all checks.
func Told(ctx context.Context, s *preflight.Subject, judge func(Report) []preflight.Finding) ([]preflight.Finding, error) {
	all, err := everywhere(ctx, s)
	if err != nil {
		return nil, err
	}
	var findings []preflight.Finding
	for _, one := range all {
		if len(one.missing) > 0 {
			findings = append(findings, one.missing...)
			continue
		}
		findings = append(findings, judge(one)...)
	}
	return findings, nil
}

// NameServers are the lines of a pod's resolv.conf that name servers, from the first node that a probe ran on.
func NameServers(ctx context.Context, s *preflight.Subject) (string, error) {
	facts, err := factsWith(ctx, s, agent.NameServers)
	return facts[agent.NameServers], err
}

// Families are the IP families of pods, as one on the first node that a probe ran on sees them.
func Families(ctx context.Context, s *preflight.Subject) (egress.Families, error) {
	facts, err := factsWith(ctx, s, agent.PodIPs)
	return egress.FamiliesOf(facts[agent.PodIPs], facts[agent.ServiceHost]), err
}

// factsWith are the facts of the first node that has one of them.
func factsWith(ctx context.Context, s *preflight.Subject, fact string) (agent.Facts, error) {
	all, err := everywhere(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.Names.Facts[fact] != "" {
			return one.Names.Facts, nil
		}
	}
	return nil, nil
}
