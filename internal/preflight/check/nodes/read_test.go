package nodes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse("110"),
	}
}

func node(name, cpu, memory string, change ...func(*corev1.Node)) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	n.Status.Allocatable, n.Status.Capacity = amounts(cpu, memory), amounts(cpu, memory)
	for _, c := range change {
		c(&n)
	}
	return n
}

func down(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }

func tainted(n *corev1.Node) {
	n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
}

func pod(owner, cpu, memory string, replicas, surge int32) requirement.Pod {
	requests := amounts(cpu, memory)
	delete(requests, corev1.ResourcePods)
	return requirement.Pod{
		Owner: owner, Namespace: "nap", Replicas: replicas, Surge: surge, By: requirement.Helm, Why: "a service", Value: "x.resources",
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}}},
	}
}

func TestCapacity(t *testing.T) {
	workspace := pod("workspace", "100m", "256Mi", 1, 0)
	workspace.By = requirement.Runner
	apart := pod("Cluster nap-pg", "250m", "1Gi", 2, 0)
	apart.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname}}}}
	cp := pod("Deployment nap-cp", "200m", "1Gi", 1, 1)
	taken := func(name string) cluster.Pod {
		return cluster.Pod{Namespace: "nap", Name: name, Node: "a", Requests: cluster.Amount{MilliCPU: 200, Memory: 1 << 30, Pods: 1}}
	}
	for _, tc := range []struct {
		name  string
		nodes []corev1.Node
		pods  []cluster.Pod
		wants []requirement.Pod
		words []string
	}{
		{name: "room for all", nodes: []corev1.Node{node("a", "4", "64Gi")}, wants: []requirement.Pod{cp}},
		{
			name: "no room", nodes: []corev1.Node{node("a", "4", "512Mi")}, wants: []requirement.Pod{cp},
			words: []string{"no node has room for Deployment nap-cp (200m CPU, 1024Mi memory): the platform asks for 200m CPU, 1024Mi memory, its nodes have 4000m CPU, 512Mi memory left"},
		},
		{
			name: "running pods count", nodes: []corev1.Node{node("a", "4", "1536Mi")}, pods: []cluster.Pod{taken("somebody-elses")}, wants: []requirement.Pod{cp},
			words: []string{"no node has room for Deployment nap-cp"},
		},
		{
			name: "those of an earlier revision are replaced", nodes: []corev1.Node{node("a", "4", "2Gi")}, pods: []cluster.Pod{taken("nap-cp-5d8f-x")}, wants: []requirement.Pod{cp},
		},
		{
			name: "none for the second pod of a rollout", nodes: []corev1.Node{node("a", "4", "1Gi")}, wants: []requirement.Pod{cp},
			words: []string{"warning: no node has room for a second pod of Deployment nap-cp"},
		},
		{
			name: "enough in total, on no node", nodes: []corev1.Node{node("a", "4", "700Mi"), node("b", "4", "700Mi")}, wants: []requirement.Pod{cp},
			words: []string{"no node has room for Deployment nap-cp"},
		},
		{
			name: "two that may not share a node", nodes: []corev1.Node{node("a", "4", "8Gi")}, wants: []requirement.Pod{apart},
			words: []string{"no node has room for Cluster nap-pg"},
		},
		{
			name: "a node that is down does not count", nodes: []corev1.Node{node("a", "4", "8Gi", down)}, wants: []requirement.Pod{cp},
			words: []string{"no node has room"},
		},
		{
			name: "workspaces are counted", nodes: []corev1.Node{node("a", "4", "3Gi")}, wants: []requirement.Pod{cp, workspace},
			words: []string{"note: beside the platform there is room for 4 workspaces of the smallest size (100m CPU, 256Mi memory each)"},
		},
		{
			name: "no room for a workspace", nodes: []corev1.Node{node("a", "4", "2Gi")}, wants: []requirement.Pod{cp, workspace},
			words: []string{"warning: beside the platform no node has room for a workspace"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := &requirement.Set{Pods: tc.wants}
			checktest.Want(t, demand(newRoom(tc.nodes, tc.pods, ofRelease(set)), set), tc.words...)
		})
	}
}

func TestMatch(t *testing.T) {
	picky := pod("Deployment nap-cp", "200m", "1Gi", 1, 0)
	picky.Spec.NodeSelector = map[string]string{"pool": "agents"}
	for _, tc := range []struct {
		name  string
		nodes []corev1.Node
		pod   requirement.Pod
		words []string
	}{
		{name: "a node takes it", nodes: []corev1.Node{node("a", "4", "8Gi")}, pod: pod("Deployment nap-cp", "200m", "1Gi", 1, 0)},
		{
			name: "a label is missing", nodes: []corev1.Node{node("a", "4", "8Gi"), node("b", "4", "8Gi", tainted)}, pod: picky,
			words: []string{"none of 2 nodes takes Deployment nap-cp, for a service, which asks for 200m CPU, 1024Mi memory: 1 × no label pool=agents, 1 × taint gpu=yes:NoSchedule"},
		},
		{
			name: "all are too small", nodes: []corev1.Node{node("a", "100m", "8Gi")}, pod: pod("Deployment nap-cp", "200m", "1Gi", 1, 0),
			words: []string{"1 × too small -> add a node that fits, or change x.resources"},
		},
		{
			name: "a taint", nodes: []corev1.Node{node("a", "4", "8Gi", tainted)}, pod: pod("Deployment nap-cp", "200m", "1Gi", 1, 0),
			words: []string{"tolerate the taint in x.resources"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checktest.Want(t, matches(tc.nodes, []requirement.Pod{tc.pod}), tc.words...)
		})
	}
}

func TestReadiness(t *testing.T) {
	full := func(n *corev1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Message: "disk is full"})
	}
	checktest.Want(t, readiness([]corev1.Node{node("a", "4", "8Gi")}))
	checktest.Want(t, readiness([]corev1.Node{node("a", "4", "8Gi", down)}), "none of 1 nodes is ready")
	checktest.Want(t, readiness([]corev1.Node{node("a", "4", "8Gi", full), node("b", "4", "8Gi", down)}),
		"warning: node a reports DiskPressure: disk is full", "warning: 1 of 2 nodes are not ready: b")
}

func TestSize(t *testing.T) {
	checktest.Want(t, sizes([]corev1.Node{node("a", "4", "7800Mi"), node("tiny", "1", "1Gi", tainted)}))
	checktest.Want(t, sizes([]corev1.Node{node("a", "2", "16Gi"), node("b", "8", "4Gi")}),
		"2 nodes have less than 4 CPUs and 8 GB of memory: a (2000m CPU, 16384Mi memory), b (8000m CPU, 4096Mi memory)")
}
