package exposure

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/nodeport"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func nodePorts(s *preflight.Subject) (bool, string) {
	for _, port := range s.Requirements.NodePorts {
		if port.Port != 0 {
			return true, ""
		}
	}
	return false, "no Service asks for a node port"
}

// portOf is what the rules of node ports go by.
func portOf(p requirement.NodePort) nodeport.Port {
	return nodeport.Port{Namespace: p.Namespace, Service: p.Service, Number: p.Port, Protocol: p.Protocol, Value: p.Value,
		Before: p.Before}
}

const refusal = "the API server refuses the Service, and the install fails half-way"

// prefix begins the names of Services that are made in a dry run.
const prefix = "neutree-preflight-"

// inRange goes by what the API server is started with, where that can be seen. Elsewhere it believes a refusal of a dry
// run, but not its consent: Kubernetes 1.34 does not look at the range then. exposure.node-port gets the exact answer.
func inRange(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	services, err := s.Cluster.Services(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the Services of all namespaces: %w", err)
	}
	first, last, err := startedWith(ctx, s.Cluster)
	if err != nil {
		return nil, fmt.Errorf("look for the API server's own pod: %w", err)
	}
	var findings []preflight.Finding
	for _, port := range s.Requirements.NodePorts {
		switch {
		case port.Port == 0:
		case last != 0 && (port.Port < first || port.Port > last):
			findings = append(findings, outside(port, fmt.Sprintf("%d-%d", first, last)))
		case last == 0:
			_, err := portOf(port).Ask(ctx, s.Cluster.Untyped, metav1.NamespaceDefault, prefix)
			valid := kube.NodePortRange(err)
			switch {
			case valid != "":
				findings = append(findings, outside(port, valid))
			case kube.Unanswered(err), kube.MissingPermission(err) != "":
				return findings, fmt.Errorf("try node port %d: %w", port.Port, err)
			default:
				findings = append(findings, unusual(port, services, s.Probes != nil)...)
			}
		}
	}
	return findings, nil
}

// startedWith is the range that the API server was told, as its own pod shows where it runs as one, else zeros. Clouds
// hide it, and many users may not look.
func startedWith(ctx context.Context, view *cluster.View) (first, last int32, err error) {
	pods, err := view.List(ctx, kube.Pods, metav1.NamespaceSystem, "component=kube-apiserver")
	if apierrors.IsForbidden(err) {
		return 0, 0, nil
	}
	if err != nil || len(pods) == 0 {
		return 0, 0, err
	}
	first, last = nodeport.UsualFirst, nodeport.UsualLast
	containers, _, _ := unstructured.NestedSlice(pods[0].Object, "spec", "containers")
	for _, c := range containers {
		container, _ := c.(map[string]any)
		for _, field := range []string{"command", "args"} {
			words, _, _ := unstructured.NestedStringSlice(container, field)
			for _, word := range words {
				if text, is := strings.CutPrefix(word, "--service-node-port-range="); is {
					if _, err := fmt.Sscanf(text, "%d-%d", &first, &last); err != nil {
						return 0, 0, nil
					}
				}
			}
		}
	}
	return first, last, nil
}

// outside is the finding for a port outside the range that the cluster allows.
func outside(port requirement.NodePort, valid string) preflight.Finding {
	finding := portOf(port).Outside(valid)
	finding.Why = refusal
	return finding
}

// unusual warns of a port outside the usual range, unless Services show that this cluster's is another, or a Service
// with the port is made for a moment anyway.
func unusual(port requirement.NodePort, services []corev1.Service, made bool) []preflight.Finding {
	if portOf(port).Usual() {
		return nil
	}
	for _, service := range services {
		for _, other := range service.Spec.Ports {
			if other.NodePort != 0 && (other.NodePort < nodeport.UsualFirst || other.NodePort > nodeport.UsualLast) {
				return nil
			}
		}
	}
	finding := outside(port, "")
	finding.Severity = preflight.Warning
	finding.Found = fmt.Sprintf("node port %d for %s is outside %d-%d, which Kubernetes allows unless the API server is told otherwise", port.Port, port.Service, nodeport.UsualFirst, nodeport.UsualLast)
	if made {
		finding.Severity = preflight.Note
		finding.Found += "; exposure.node-port tells whether it was"
	}
	return []preflight.Finding{finding}
}

func free(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	services, listErr := s.Cluster.Services(ctx)
	var pods []cluster.Pod
	if listErr == nil {
		pods, listErr = s.Cluster.Pods(ctx)
	}
	var findings []preflight.Finding
	for _, port := range s.Requirements.NodePorts {
		if port.Port == 0 {
			continue
		}
		owner := owners(port, services, pods)
		if owner == "" && !held(port, services) {
			// A Service that this user may not see may have it.
			answer, _ := portOf(port).Ask(ctx, s.Cluster.Untyped, metav1.NamespaceDefault, prefix)
			if answer == nodeport.Allocated && !tried(ctx, s.Cluster.Untyped, port) {
				owner = "a Service that you may not see"
			}
		}
		if owner != "" {
			finding := portOf(port).Taken(owner)
			finding.Why = refusal
			findings = append(findings, finding)
		}
	}
	if len(findings) == 0 && listErr != nil {
		return nil, fmt.Errorf("see who holds node ports: %w", listErr)
	}
	return findings, nil
}

// tried says whether a probe has the port just now.
func tried(ctx context.Context, client *kube.Client, port requirement.NodePort) bool {
	ours, err := kube.List[corev1.Service](ctx, client, kube.Services, "", metav1.ListOptions{LabelSelector: probe.RunLabel})
	return err == nil && held(port, ours)
}

// owners names who else has the port.
func owners(port requirement.NodePort, services []corev1.Service, pods []cluster.Pod) string {
	probes := func(s *corev1.Service) bool { return s.Labels[probe.RunLabel] != "" }
	if owner := portOf(port).Owner(services, probes); owner != "" {
		return owner
	}
	for _, pod := range pods {
		for _, host := range pod.HostPorts {
			if host.Port == port.Port && host.Protocol == portOf(port).Transport() {
				return fmt.Sprintf("pod %s/%s on node %s, as host port", pod.Namespace, pod.Name, pod.Node)
			}
		}
	}
	return ""
}

// held says whether the release has the port already.
func held(port requirement.NodePort, services []corev1.Service) bool {
	return slices.ContainsFunc(services, func(s corev1.Service) bool { return portOf(port).HeldBy(&s) })
}
