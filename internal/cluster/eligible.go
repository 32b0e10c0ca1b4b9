package cluster

import corev1 "k8s.io/api/core/v1"

// Eligible are the nodes that are up and that the scheduler would consider for a pod: those that its selector and
// affinity name and whose taints it tolerates. How full they are is another question.
func Eligible(nodes []corev1.Node, spec *corev1.PodSpec) []corev1.Node {
	var eligible []corev1.Node
	for i := range nodes {
		if Ready(&nodes[i]) && Unfit(&nodes[i], spec) == "" {
			eligible = append(eligible, nodes[i])
		}
	}
	return eligible
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
