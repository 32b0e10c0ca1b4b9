package cluster_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
)

func node(name string, change func(*corev1.Node)) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if change != nil {
		change(&n)
	}
	return n
}

func names(nodes []corev1.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

func TestEligible(t *testing.T) {
	nodes := []corev1.Node{
		node("plain", nil),
		node("labelled", func(n *corev1.Node) { n.Labels["pool"] = "agents" }),
		node("cordoned", func(n *corev1.Node) { n.Spec.Unschedulable = true }),
		node("down", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }),
		node("tainted", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
		}),
		node("avoided", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectPreferNoSchedule}}
		}),
	}
	for name, test := range map[string]struct {
		spec corev1.PodSpec
		want []string
	}{
		"anything": {corev1.PodSpec{}, []string{"plain", "labelled", "avoided"}},
		"selector": {corev1.PodSpec{NodeSelector: map[string]string{"pool": "agents"}}, []string{"labelled"}},
		"tolerant": {corev1.PodSpec{Tolerations: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}},
			[]string{"plain", "labelled", "tainted", "avoided"}},
		"affinity": {corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "pool", Operator: corev1.NodeSelectorOpDoesNotExist}},
			}}},
		}}}, []string{"plain", "avoided"}},
	} {
		if diff := cmp.Diff(test.want, names(cluster.Eligible(nodes, &test.spec))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSample(t *testing.T) {
	var nodes []corev1.Node
	for i := range 10 {
		nodes = append(nodes, node(fmt.Sprint(i), nil))
	}
	for n, want := range map[int][]string{3: {"0", "3", "6"}, 1: {"0"}} {
		if diff := cmp.Diff(want, names(cluster.Sample(nodes, n))); diff != "" {
			t.Errorf("%d (-want +got):\n%s", n, diff)
		}
	}
	if got := len(cluster.Sample(nodes, 0)); got != 10 {
		t.Errorf("0 stands for all, not for %d", got)
	}
}
