package cluster

import (
	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Eligible are the nodes that are up and that the scheduler would consider for a pod: those that its selector and
// affinity name and whose taints it tolerates. How full they are is another question.
func Eligible(nodes []corev1.Node, spec *corev1.PodSpec) []corev1.Node {
	required := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec})
	var eligible []corev1.Node
	for i := range nodes {
		node := &nodes[i]
		if node.Spec.Unschedulable || !ready(node) {
			continue
		}
		if match, err := required.Match(node); err != nil || !match {
			continue
		}
		if _, tainted := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, spec.Tolerations, func(t *corev1.Taint) bool {
			return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
		}, true); !tainted {
			eligible = append(eligible, *node)
		}
	}
	return eligible
}

func ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Sample takes at most n of the nodes, spread over all of them; 0 stands for all.
func Sample(nodes []corev1.Node, n int) []corev1.Node {
	if n <= 0 || n >= len(nodes) {
		return nodes
	}
	sample := make([]corev1.Node, 0, n)
	for i := range n {
		sample = append(sample, nodes[i*len(nodes)/n])
	}
	return sample
}
