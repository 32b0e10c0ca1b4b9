package turn

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func TestHostPorts(t *testing.T) {
	node := func(name string) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		return n
	}
	set := &requirement.Set{
		Pods:      []requirement.Pod{{Owner: "Deployment coturn", Namespace: "nap", Replicas: 1}},
		HostPorts: []requirement.HostPort{{Owner: "Deployment coturn", Port: 49152, Last: 49252, Protocol: corev1.ProtocolUDP, Value: "browser.coturn.nodeSelector"}},
	}
	taken := func(node, name string, protocol corev1.Protocol) cluster.Pod {
		return cluster.Pod{Namespace: "nap", Name: name, Node: node, HostPorts: []cluster.HostPort{{Port: 49200, Protocol: protocol}}}
	}
	nodes := []corev1.Node{node("a"), node("b")}
	checktest.Want(t, conflicts(nodes, []cluster.Pod{taken("a", "other", corev1.ProtocolUDP)}, set))
	checktest.Want(t, conflicts(nodes[:1], []cluster.Pod{taken("a", "coturn-7c-x", corev1.ProtocolUDP), taken("a", "other", corev1.ProtocolTCP)}, set))
	checktest.Want(t, conflicts(nodes[:1], []cluster.Pod{taken("a", "other", corev1.ProtocolUDP)}, set),
		"on every node that Deployment coturn can run on its ports are taken: on a, pod nap/other has 49200/UDP")
	// The finding names the first of several nodes by name, in whatever order they come.
	many := []corev1.Node{node("d"), node("c"), node("b"), node("e")}
	var holders []cluster.Pod
	for _, n := range many {
		holders = append(holders, taken(n.Name, "other", corev1.ProtocolUDP))
	}
	checktest.Want(t, conflicts(many, holders, set), "its ports are taken: on b, pod nap/other")
}
