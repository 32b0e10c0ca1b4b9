package exposure

import (
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const (
	present  = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}`
	greeting = "preflight hello"
)

// greeter answers on a port of an address of this machine's own.
func greeter(t *testing.T, host, says string) int32 {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Write([]byte(says))
			_ = connection.Close()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

// The address that users are told decides; without one, that some node answers.
func TestJudge(t *testing.T) {
	t.Parallel()
	port := greeter(t, "127.0.0.1", greeting)
	answers := address{node: "node1", host: "127.0.0.1"}
	silent := address{node: "node2", host: "127.0.0.2"}
	for name, c := range map[string]struct {
		host      string
		addresses []address
		greeting  string
		want      []string
	}{
		"the host answers":               {"127.0.0.1", []address{silent}, greeting, nil},
		"no host, and all nodes answer":  {"", []address{answers}, greeting, nil},
		"localhost is no address":        {"localhost", []address{answers}, greeting, nil},
		"only nodes answer":              {"127.0.0.2", []address{answers}, greeting, []string{"does not answer under the host that users are told"}},
		"some nodes answer":              {"", []address{answers, silent}, greeting, []string{"note: node port " + strconv.Itoa(int(port)) + " answers under some addresses only"}},
		"no node answers":                {"", []address{silent}, greeting, []string{"answers under no address of a node"}},
		"another service has the port":   {"127.0.0.1", []address{answers}, "preflight other", []string{"something else answers"}},
		"another one, and no host named": {"", []address{answers}, "preflight other", []string{"answers under no address of a node: something else answers"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checktest.Want(t, judge(t.Context(), c.host, c.addresses, port, c.greeting), c.want...)
		})
	}
}

func TestAddressesOfNodes(t *testing.T) {
	nodes := []corev1.Node{{}, {}}
	nodes[0].Name, nodes[1].Name = "a", "b"
	nodes[0].Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "a"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}
	nodes[1].Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeExternalIP, Address: "203.0.113.1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.2"}}
	want := []address{{"a", "10.0.0.1", false}, {"b", "203.0.113.1", true}, {"b", "10.0.0.2", false}}
	if got := addressesOf(nodes); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
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

// A node port is asked for by its own number first, since firewalls may let no other through.
func TestNodePortsAreMade(t *testing.T) {
	nodes := probetest.New(t, []string{"node1"}, present)
	s := subject(t, nodes, &requirement.Set{Namespace: "nap", NodePorts: []requirement.NodePort{{Service: "nap-cp", Namespace: "nap", Port: 30080}, {Service: "x"}}})
	namespace, err := s.Probes.Namespace(t.Context(), "nap", "restricted")
	if err != nil {
		t.Fatal(err)
	}
	open, findings, err := makeNodePorts(t.Context(), s, namespace, map[string]string{"a": "b"})
	if err != nil || open != 30080 || len(findings) > 0 {
		t.Errorf("%d, %v, %v", open, findings, err)
	}
}
