package exposure

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/fromhere"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// probes are the checks that start pods.
func probes() []preflight.Check {
	all := preflight.Cluster | preflight.Pods | preflight.Outside
	return []preflight.Check{
		{
			ID: "exposure.node-port", Title: "A node port answers from here", Needs: all, Severity: preflight.Error,
			Applies: usesNodePorts, Run: answered,
		},
	}
}

func usesNodePorts(s *preflight.Subject) (bool, string) {
	return s.Requirements.Exposure.Type == "nodePort", "users do not come by a node port (global.exposure.type)"
}

const (
	servePort = 7003
	target    = "neutree.ai/preflight-target"
)

// answered lets a pod answer on a node port and calls the nodes one by one, and the host that users would call.
func answered(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Restricted)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{target: "node-port-" + s.Probes.ID()}
	greeting := "preflight " + s.Probes.ID()
	running, err := s.Probes.Start(ctx, probe.Pod{
		Purpose: "node-port", Namespace: namespace, Labels: labels, Limit: 2 * time.Minute,
		Containers: []probe.Container{{Name: "probe", Tasks: []agent.Task{{ID: "serve", Serve: &agent.Serve{TCP: []int{servePort}, Greeting: greeting, Seconds: 110}}}}},
	})
	if err != nil {
		return onnodes.NotProved(err)
	}
	defer running.Stop()
	open, findings, err := makeNodePorts(ctx, s, namespace, labels)
	if err != nil {
		return findings, err
	}
	addresses := addressesOf(cluster.Sample(nodes, s.Options.Nodes))
	host := s.Requirements.Exposure.Host
	return append(findings, judge(ctx, host, addresses, open, greeting)...), nil
}

// makeNodePorts makes a Service with the very port that users would call, as firewalls may let no other through; where
// it is taken, by the release itself for one, with any. The other ports are tried for a moment: only a Service that is
// really made tells whether they lie in the API server's range.
func makeNodePorts(ctx context.Context, s *preflight.Subject, namespace string, labels map[string]string) (int32, []preflight.Finding, error) {
	var findings []preflight.Finding
	var open int32
	for _, wanted := range s.Requirements.NodePorts {
		if wanted.Port == 0 {
			continue
		}
		made, err := s.Probes.NodePort(ctx, namespace, labels, wanted.Port, servePort)
		switch valid := kube.NodePortRange(err); {
		case valid != "":
			findings = append(findings, outside(wanted, valid))
		case err != nil:
			// exposure.node-port-free says who has it.
		case open == 0:
			open = made.Port
		default:
			made.Delete(ctx)
		}
	}
	if open != 0 {
		return open, findings, nil
	}
	made, err := s.Probes.NodePort(ctx, namespace, labels, 0, servePort)
	if err != nil {
		return 0, findings, fmt.Errorf("make a Service with a node port: %w", err)
	}
	return made.Port, findings, nil
}

type address struct {
	node, host string
	external   bool
}

func addressesOf(nodes []corev1.Node) []address {
	var found []address
	for _, node := range nodes {
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				found = append(found, address{node.Name, a.Address, a.Type == corev1.NodeExternalIP})
			}
		}
	}
	return found
}

func judge(ctx context.Context, host string, addresses []address, port int32, greeting string) []preflight.Finding {
	answers := map[string]error{}
	type answer struct {
		host string
		err  error
	}
	hosts := map[string]bool{}
	if host != "" && host != "localhost" {
		hosts[host] = true
	}
	for _, a := range addresses {
		hosts[a.host] = true
	}
	done := make(chan answer, len(hosts))
	for h := range hosts {
		go func() { done <- answer{h, fromhere.Greeted(ctx, "tcp", h, port, greeting)} }()
	}
	for range hosts {
		a := <-done
		answers[a.host] = a.err
	}
	any := false
	var first error
	var silent []string
	for _, a := range addresses {
		if answers[a.host] == nil {
			any = true
		} else {
			silent = append(silent, fmt.Sprintf("%s (%s)", a.host, a.node))
			first = answers[a.host]
		}
	}
	if err := answers[host]; host != "" && host != "localhost" {
		if err == nil {
			return nil
		}
		finding := preflight.Finding{
			Object: host, Value: "global.host",
			Found: fmt.Sprintf("node port %d does not answer under the host that users are told: %v", port, err),
			Why:   "users do not reach the platform under its address",
			Fix:   "set global.host to an address of a node that users reach, or open the port in firewalls and security groups",
		}
		if any {
			finding.Found += "; nodes themselves answer"
		}
		return []preflight.Finding{finding}
	}
	if !any {
		return []preflight.Finding{{
			Object: strings.Join(silent, ", "), Value: "global.exposure.type",
			Found: fmt.Sprintf("node port %d answers under no address of a node: %v", port, first),
			Why:   "users who come from where you are do not reach the platform",
			Fix:   "open the port in firewalls and security groups, or choose another global.exposure.type",
		}}
	}
	if len(silent) > 0 {
		return []preflight.Finding{{
			Object: strings.Join(silent, ", "), Severity: preflight.Note,
			Found: fmt.Sprintf("node port %d answers under some addresses only", port),
		}}
	}
	return nil
}
