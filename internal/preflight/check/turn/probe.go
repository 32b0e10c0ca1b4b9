package turn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/fromhere"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// probes are the checks that start pods.
func probes() []preflight.Check {
	all := preflight.Cluster | preflight.Pods | preflight.Outside
	return []preflight.Check{
		{
			ID: "turn.ports", Title: "The relay's ports are free on its node", Needs: preflight.Cluster | preflight.Pods, Severity: preflight.Error,
			Applies: relayOnNode, Run: relayPorts,
		},
		{
			ID: "turn.reach", Title: "The relay's port is reached from here", Needs: all, Severity: preflight.Warning,
			Applies: hasRelay, Run: relayReach,
		},
	}
}

func relayOnNode(s *preflight.Subject) (bool, string) {
	r := s.Requirements.Relay
	return r != nil && r.Own && r.OnNode(), "no relay takes ports of its node"
}

func hasRelay(s *preflight.Subject) (bool, string) {
	r := s.Requirements.Relay
	switch {
	case r == nil:
		return false, "no browser is watched through a relay"
	case r.Host == "":
		return false, "the relay has no address (browser.turn.host)"
	case r.Own && !r.OnNode():
		return false, "the relay's load balancer is there only after the install"
	}
	return true, ""
}

func relayNodes(ctx context.Context, s *preflight.Subject) ([]string, error) {
	r := s.Requirements.Relay
	spec := &corev1.PodSpec{NodeSelector: r.NodeSelector, Tolerations: r.Tolerations}
	nodes, err := onnodes.Eligible(ctx, s, spec)
	if err == nil && len(nodes) == 0 {
		err = errors.New("no node is up that the relay may run on: browser.coturn.nodeSelector names none")
	}
	return nodes, err
}

// ours tells whether the relay of the release runs on the node already and holds the ports itself.
func ours(ctx context.Context, s *preflight.Subject, node string) (bool, error) {
	if !s.Options.Upgrade {
		return false, nil
	}
	pods, err := s.Cluster.Pods(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(pods, func(p cluster.Pod) bool {
		return p.Namespace == s.Requirements.Namespace && p.Node == node &&
			slices.ContainsFunc(p.HostPorts, func(h cluster.HostPort) bool { return h.Port == s.Requirements.Relay.Port })
	}), nil
}

func relayPod(s *preflight.Subject, namespace, node string, tasks ...agent.Task) probe.Pod {
	r := s.Requirements.Relay
	return probe.Pod{
		Purpose: "relay", Namespace: namespace, Node: node, HostNetwork: true,
		NodeSelector: r.NodeSelector, Tolerations: r.Tolerations, Limit: 2 * time.Minute,
		Containers: []probe.Container{{Name: "probe", Tasks: tasks}},
	}
}

// relayPorts binds every port on every node that the relay may run on.
func relayPorts(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := relayNodes(ctx, s)
	if err != nil {
		return nil, err
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Privileged)
	if err != nil {
		return nil, err
	}
	return cluster.Once(ctx, s.Cluster, "turn/ports", func(ctx context.Context) ([]preflight.Finding, error) {
		return onnodes.Each(ctx, nodes, func(ctx context.Context, node string) ([]preflight.Finding, error) {
			if own, err := ours(ctx, s, node); own || err != nil {
				return nil, err
			}
			outcome, err := s.Probes.Run(ctx, relayPod(s, namespace, node, agent.Task{ID: "bind", Bind: &agent.Bind{Ports: portsOf(s.Requirements.Relay)}}))
			if err != nil {
				return onnodes.NotProved(err)
			}
			result := outcome.Results["bind"]
			if result.OK() {
				return nil, nil
			}
			finding := preflight.Finding{
				Object: "Deployment coturn", Node: node, Found: result.Error,
				Value: "browser.coturn.nodeSelector", Why: "the relay does not start there, and nobody sees a browser",
				Fix: "stop what has the port (on the node: ss -lntup), or choose another node by browser.coturn.nodeSelector",
			}
			return []preflight.Finding{finding}, nil
		})
	})
}

func portsOf(r *requirement.Relay) []agent.Ports {
	if r.HostPort && !r.HostNetwork {
		return []agent.Ports{{Protocol: "tcp", First: int(r.Port)}}
	}
	return []agent.Ports{
		{Protocol: "tcp", First: int(r.Port)},
		{Protocol: "udp", First: int(r.Port)},
		{Protocol: "udp", First: int(r.Min), Last: int(r.Max)},
	}
}

// relayReach lets a probe answer in the relay's place and calls it under the address that users are told.
func relayReach(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	r := s.Requirements.Relay
	if !r.Own {
		return speaks(ctx, r)
	}
	nodes, err := relayNodes(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		own, err := ours(ctx, s, node)
		if err != nil {
			return nil, err
		}
		if own {
			return speaks(ctx, r)
		}
	}
	// It binds the same ports, so it waits for the one that does that.
	findings, err := relayPorts(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(findings) > 0 {
		return []preflight.Finding{{Severity: preflight.Note, Found: "nothing can answer in the relay's place: see turn.ports"}}, nil
	}
	namespace, err := s.Probes.Namespace(ctx, s.Requirements.Namespace, probe.Privileged)
	if err != nil {
		return nil, err
	}
	if nodes, err = answering(ctx, s, nodes); err != nil {
		return nil, err
	}
	greeting := "preflight " + s.Probes.ID()
	serving := &agent.Serve{TCP: []int{int(r.Port)}, Greeting: greeting, Seconds: 100}
	if r.HostNetwork {
		serving.UDP = []int{int(r.Min)}
	}
	serve := agent.Task{ID: "serve", Serve: serving}
	started, err := onnodes.Each(ctx, nodes, func(ctx context.Context, node string) ([]preflight.Finding, error) {
		running, err := s.Probes.Start(ctx, relayPod(s, namespace, node, serve))
		if err != nil {
			return onnodes.NotProved(err)
		}
		context.AfterFunc(ctx, running.Stop)
		return nil, nil
	})
	if err != nil {
		return started, err
	}
	if err := fromhere.Greeted(ctx, "tcp", r.Host, r.Port, greeting); err != nil {
		return []preflight.Finding{unreached(r, "tcp", r.Port, err)}, nil
	}
	if !r.HostNetwork {
		return nil, nil
	}
	if err := fromhere.Greeted(ctx, "udp", r.Host, r.Min, greeting); err != nil {
		finding := unreached(r, "udp", r.Min, err)
		finding.Severity, finding.Why = preflight.Note, "users need port "+strconv.Itoa(int(r.Port))+"/tcp only; sandboxes need the other ports from inside the cluster"
		return []preflight.Finding{finding}, nil
	}
	return nil, nil
}

// answering are the nodes on which a probe is to answer: the one with the address that users are told. Where that
// address is translated it can be any, of which a few are tried.
func answering(ctx context.Context, s *preflight.Subject, names []string) ([]string, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		for _, address := range node.Status.Addresses {
			if address.Address == s.Requirements.Relay.Host && slices.Contains(names, node.Name) {
				return []string{node.Name}, nil
			}
		}
	}
	return names[:min(len(names), 3)], nil
}

func unreached(r *requirement.Relay, protocol string, port int32, err error) preflight.Finding {
	return preflight.Finding{
		Object: net.JoinHostPort(r.Host, strconv.Itoa(int(port))) + "/" + protocol, Value: "browser.turn.host",
		Found: fmt.Sprintf("the relay's port is not reached from here: %v", err),
		Why:   "the picture of a browser does not reach users; that they are where you are is not certain",
		Fix:   "set browser.turn.host to the address of the relay's node, and open the port in firewalls and security groups",
	}
}
