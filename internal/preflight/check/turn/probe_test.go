package turn

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const present = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}`

func relay() *requirement.Relay {
	return &requirement.Relay{Own: true, Host: "198.19.255.2", Port: 3478, Min: 49152, Max: 49160, HostNetwork: true, Owner: "Deployment coturn"}
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

// The relay's ports are bound on every node that it may run on, all of them, on the node's own network.
func TestRelayPorts(t *testing.T) {
	three := []string{"node1", "node2", "node3"}
	for name, c := range map[string]struct {
		selector map[string]string
		objects  string
		upgrade  bool
		want     []string
		findings []string
	}{
		"every node":                   {want: three, findings: []string{"3478/tcp is taken -> stop what has the port"}},
		"one node":                     {selector: map[string]string{"kubernetes.io/hostname": "node1"}, want: []string{"node1"}},
		"the release's own relay runs": {upgrade: true, objects: coturnOn("nap", "node3"), want: []string{"node1", "node2"}},
		"another one runs":             {upgrade: true, objects: coturnOn("other", "node3"), want: three, findings: []string{"3478/tcp is taken"}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := probetest.New(t, three, present, c.objects)
			nodes.Answer = func(node string, task agent.Task) *agent.Result {
				if node == "node3" && task.Bind != nil {
					return &agent.Result{Error: "3478/tcp is taken"}
				}
				return nil
			}
			set := &requirement.Set{Namespace: "nap", Relay: relay()}
			set.Relay.NodeSelector = c.selector
			s := subject(t, nodes, set)
			s.Options.Upgrade = c.upgrade
			findings := checktest.Run(t, Checks(), "turn.ports", s)
			checktest.Want(t, findings, c.findings...)
			for _, finding := range findings {
				if finding.Node != "node3" {
					t.Errorf("it is said of node %s", finding.Node)
				}
			}
			var on []string
			for _, pod := range nodes.Placed("relay") {
				on = append(on, pod.Node)
				if !pod.Spec.HostNetwork {
					t.Error("it does not run on the network of its node")
				}
				want := []agent.Ports{{Protocol: "tcp", First: 3478}, {Protocol: "udp", First: 3478}, {Protocol: "udp", First: 49152, Last: 49160}}
				if got := pod.Tasks[0].Bind.Ports; !slices.Equal(got, want) {
					t.Errorf("it binds %v, want %v", got, want)
				}
			}
			slices.Sort(on)
			if !slices.Equal(on, c.want) {
				t.Errorf("probes ran on %v, want %v", on, c.want)
			}
		})
	}
}

// With a port of its node coturn takes nothing else there.
func TestRelayPortsOfAHostPort(t *testing.T) {
	r := relay()
	r.HostNetwork, r.HostPort = false, true
	if got, want := portsOf(r), []agent.Ports{{Protocol: "tcp", First: 3478}}; !slices.Equal(got, want) {
		t.Errorf("it binds %v, want %v", got, want)
	}
}

func coturnOn(namespace, node string) string {
	return strings.NewReplacer("NAMESPACE", namespace, "NODE", node).Replace(`{apiVersion: v1, kind: Pod, metadata: {name: coturn, namespace: NAMESPACE},
  spec: {nodeName: NODE, containers: [{name: c, ports: [{containerPort: 3478, hostPort: 3478, protocol: TCP}]}]}, status: {phase: Running}}`)
}

func TestRelayApplies(t *testing.T) {
	change := func(do func(*requirement.Relay)) *requirement.Relay {
		r := relay()
		do(r)
		return r
	}
	for name, c := range map[string]struct {
		relay       *requirement.Relay
		ports, seen bool
	}{
		"none":               {nil, false, false},
		"on a node":          {relay(), true, true},
		"without an address": {change(func(r *requirement.Relay) { r.Host = "" }), true, false},
		"a port of a node":   {change(func(r *requirement.Relay) { r.HostNetwork, r.HostPort = false, true }), true, true},
		"a load balancer":    {change(func(r *requirement.Relay) { r.HostNetwork = false }), false, false},
		"somebody else's":    {change(func(r *requirement.Relay) { r.Own, r.HostNetwork = false, false }), false, true},
	} {
		s := &preflight.Subject{Requirements: &requirement.Set{Relay: c.relay}}
		if ports, why := relayOnNode(s); ports != c.ports || why == "" && !ports {
			t.Errorf("%s: its ports are tried: %t (%s)", name, ports, why)
		}
		if seen, why := hasRelay(s); seen != c.seen || why == "" && !seen {
			t.Errorf("%s: it is called: %t (%s)", name, seen, why)
		}
	}
}

// A probe answers on the node whose address users are told; where that is translated, on a few.
func TestAnswering(t *testing.T) {
	five := []string{"node1", "node2", "node3", "node4", "node5"}
	for host, want := range map[string][]string{"198.19.255.2": {"node2"}, "203.0.113.1": {"node1", "node2", "node3"}} {
		set := &requirement.Set{Namespace: "nap", Relay: relay()}
		set.Relay.Host = host
		got, err := answering(t.Context(), checktest.Subject(t, probetest.New(t, five, present).Server, set), five)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", host, got, err, want)
		}
	}
}
