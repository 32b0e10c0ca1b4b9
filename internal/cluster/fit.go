package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Unfit says why the scheduler keeps a pod off a node however empty the node is, apart from its size; nothing where
// it does not.
func Unfit(node *corev1.Node, spec *corev1.PodSpec) string {
	if reason := Keeps(node, spec.Tolerations); reason != "" {
		return reason
	}
	match, err := nodeaffinity.NewRequiredNodeAffinity(spec.NodeSelector, spec.Affinity).Match(node)
	switch {
	case err != nil:
		return "a node affinity that can't be read: " + err.Error()
	case match:
		return ""
	}
	var missing []string
	for _, key := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		if node.Labels[key] != spec.NodeSelector[key] {
			missing = append(missing, key+"="+spec.NodeSelector[key])
		}
	}
	if len(missing) > 0 {
		return "no label " + strings.Join(missing, ", ")
	}
	return "does not match the node affinity"
}

// Keeps says which taint keeps off a pod with these tolerations; nothing where none does.
func Keeps(node *corev1.Node, tolerations []corev1.Toleration) string {
	if node.Spec.Unschedulable {
		return "cordoned"
	}
	taint, found := scheduling.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, tolerations, func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}, true)
	if !found {
		return ""
	}
	return fmt.Sprintf("taint %s", taint.ToString())
}

// Ready says whether the kubelet of a node reports that it can take pods.
func Ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
