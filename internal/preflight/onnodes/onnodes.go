// Package onnodes holds what the checks share that look at every node by probe pods.
package onnodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Eligible are the names of the nodes that a pod may run on, or of as many as the options ask for.
func Eligible(ctx context.Context, s *preflight.Subject, spec *corev1.PodSpec) ([]string, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	var names []string
	for _, node := range cluster.Sample(cluster.Eligible(nodes, spec), s.Options.Nodes) {
		names = append(names, node.Name)
	}
	return names, nil
}

// Workspace is where workspaces run. They tolerate nothing.
func Workspace(set *requirement.Set) *corev1.PodSpec {
	return &corev1.PodSpec{NodeSelector: set.Workspace.NodeSelector}
}

// Service is where the pods of one of the release's workloads run, as far as that is known, else anywhere.
func Service(set *requirement.Set, owner string) *corev1.PodSpec {
	for i := range set.Pods {
		if set.Pods[i].Owner == owner {
			return &set.Pods[i].Spec
		}
	}
	return &corev1.PodSpec{}
}

// Each does something for every item side by side. The findings are in the order of the items.
func Each[T any](ctx context.Context, items []T, do func(context.Context, T) ([]preflight.Finding, error)) ([]preflight.Finding, error) {
	findings, errs := make([][]preflight.Finding, len(items)), make([]error, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		all.Go(func() { findings[i], errs[i] = do(ctx, item) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			// What is true of one node is mostly true of all: once is enough.
			return slices.Concat(findings...), err
		}
	}
	return slices.Concat(findings...), nil
}

// NotProved turns a probe pod that could not run into a finding where that is the node's doing. Other errors are the
// check's own.
func NotProved(err error) ([]preflight.Finding, error) {
	var trouble *poddiag.Trouble
	if !errors.As(err, &trouble) {
		return nil, err
	}
	switch trouble.Kind {
	case poddiag.Unschedulable, poddiag.Rejected:
		return []preflight.Finding{{
			Node: trouble.Node, Severity: preflight.Warning,
			Found: "the node takes no probe pod, so nothing is proved there: " + brief(trouble.Message),
			Why:   "pods of the platform may not find room there either",
			Fix:   "make room on the node, or leave it out by a node selector",
		}}, nil
	case poddiag.Evicted, poddiag.Gone:
		return []preflight.Finding{{
			Node: trouble.Node, Severity: preflight.Warning,
			Found: "the probe pod was removed before it could tell: " + trouble.Message,
			Why:   "a node that is short of memory or disk evicts the platform's pods as well",
			Fix:   "look at the node's conditions: kubectl describe node " + trouble.Node,
		}}, nil
	}
	return nil, err
}

// brief is what a scheduler says without what it adds on nodes that were not asked for.
func brief(message string) string {
	message, _, _ = strings.Cut(message, ". ")
	message, _, _ = strings.Cut(message, ", preemption:")
	return message
}
