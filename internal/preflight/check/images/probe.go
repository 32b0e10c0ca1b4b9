package images

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// probes are the checks that start pods.
func probes() []preflight.Check {
	return []preflight.Check{{
		ID: "images.pull", Title: "Every node can pull every image that it would run",
		Needs: preflight.Cluster | preflight.Pods, Severity: preflight.Error, Run: pull,
	}}
}

// batch are the images that one pod on one node pulls: those that use the same pull secrets.
type batch struct {
	node    string
	secrets []string
	images  []requirement.Image
}

func pull(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Restricted)
	if err != nil {
		return nil, err
	}
	findings, err := onnodes.Each(ctx, batches(s, nodes), func(ctx context.Context, b *batch) ([]preflight.Finding, error) {
		pod := probe.Pod{
			Purpose: "images", Namespace: namespace, Node: b.node, PullSecrets: b.secrets,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		}
		for _, image := range b.images {
			pod.Images = append(pod.Images, probe.Image{Ref: image.Ref, Policy: image.PullPolicy})
		}
		results, err := s.Probes.Pull(early(ctx), pod)
		if err != nil {
			return onnodes.NotProved(err)
		}
		return b.findings(results), nil
	})
	return merge(findings), err
}

// early is ctx that ends soon enough for its results to be told.
func early(ctx context.Context) context.Context {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx
	}
	bounded, cancel := context.WithDeadline(ctx, deadline.Add(-5*time.Second))
	context.AfterFunc(ctx, cancel)
	return bounded
}

func batches(s *preflight.Subject, nodes []corev1.Node) []*batch {
	var found []*batch
	sampled := map[string]bool{}
	for _, node := range cluster.Sample(nodes, s.Options.Nodes) {
		sampled[node.Name] = true
	}
	for _, image := range s.Requirements.Images {
		spec := &corev1.PodSpec{NodeSelector: image.NodeSelector, Affinity: image.Affinity, Tolerations: image.Tolerations}
		secrets := slices.Sorted(slices.Values(image.PullSecrets))
		for _, node := range cluster.Eligible(nodes, spec) {
			if !sampled[node.Name] {
				continue
			}
			i := slices.IndexFunc(found, func(b *batch) bool { return b.node == node.Name && slices.Equal(b.secrets, secrets) })
			if i < 0 {
				found = append(found, &batch{node: node.Name, secrets: secrets})
				i = len(found) - 1
			}
			if !slices.ContainsFunc(found[i].images, func(other requirement.Image) bool { return other.Ref == image.Ref }) {
				found[i].images = append(found[i].images, image)
			}
		}
	}
	return found
}

func (b *batch) findings(results []probe.PullResult) []preflight.Finding {
	var findings []preflight.Finding
	for i, result := range results {
		image := b.images[i]
		switch result.State {
		case poddiag.PullFailed:
			findings = append(findings, preflight.Finding{
				Object: "image " + image.Ref, Node: b.node, Value: image.Value,
				Found: "the node can't pull it: " + short(result.Message),
				Why:   image.Why + " does not start on that node",
				Fix:   remedy(result.Message, image),
			})
		case poddiag.PullUnknown:
			findings = append(findings, preflight.Finding{
				Object: "image " + image.Ref, Node: b.node, Value: image.Value, Severity: preflight.Warning,
				Found: "the node has not pulled it yet",
				Why:   "an install that waits for it runs out of time",
				Fix:   "run the check again: it continues with what is there already",
			})
		}
	}
	return findings
}

// short drops what a kubelet and a container runtime put before the cause.
func short(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if i := strings.LastIndex(message, "failed to resolve reference"); i >= 0 {
		message = message[i:]
	}
	if len(message) > 300 {
		message = message[len(message)-300:]
	}
	if message == "" {
		return "the kubelet does not say why"
	}
	return strings.TrimSpace(message)
}

// remedy says what fixes the failure that the message is about.
func remedy(message string, image requirement.Image) string {
	contains := func(words ...string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(strings.ToLower(message), word) })
	}
	value := image.Value
	if value == "" {
		value = "the value that names it"
	}
	switch {
	case contains("429", "toomanyrequests", "rate limit"):
		return "the registry limits anonymous pulls: log in by global.imagePullSecrets, or mirror the image by global.imageRegistry"
	case contains("unauthorized", "401", "403", "denied", "authentication required", "authorization failed"):
		return "correct the login in the Secret of global.imagePullSecrets, or its rights to " + image.Ref
	case contains("no match for platform"):
		return "the image is not made for the node's architecture: choose other nodes by a node selector"
	case contains("not found", "manifest unknown", "name unknown"):
		return "there is no such image: correct " + value
	case contains("x509", "certificate"):
		return "make the nodes trust the registry's certificate authority"
	case contains("http response to https client"):
		return "the registry speaks http only: give it a certificate, or name it as insecure in the nodes' container runtime"
	case contains("invalidimagename", "invalid reference"):
		return "correct " + value + ": it is no image's name"
	case contains("dial tcp", "no such host", "timeout", "i/o timeout", "connection refused", "no route", "unreachable", "eof"):
		return "let the node reach the registry, through a proxy of the container runtime if need be, or mirror the image by global.imageRegistry"
	}
	return "look at the registry and at " + value
}

// merge tells once what is true of several images on the same node for the same reason.
func merge(findings []preflight.Finding) []preflight.Finding {
	type key struct{ node, fix string }
	groups := map[key][]preflight.Finding{}
	var order []key
	for _, f := range findings {
		k := key{f.Node, f.Fix}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], f)
	}
	var merged []preflight.Finding
	for _, k := range order {
		group := groups[k]
		if len(group) > 2 && strings.Contains(k.fix, "let the node reach the registry") {
			first := group[0]
			var refs []string
			for _, f := range group {
				refs = append(refs, strings.TrimPrefix(f.Object, "image "))
			}
			first.Object = fmt.Sprintf("%d images: %s", len(refs), strings.Join(refs, ", "))
			first.Value, first.Why = "", "nothing that needs them starts on that node"
			group = []preflight.Finding{first}
		}
		merged = append(merged, group...)
	}
	return merged
}
