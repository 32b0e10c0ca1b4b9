package cluster

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Pod is what checks need of a pod: there may be tens of thousands of them.
type Pod struct {
	Namespace, Name, Node string
	Requests              Amount
	HostPorts             []HostPort
}

// HostPort is a port that a pod takes on its node.
type HostPort struct {
	Port     int32
	Protocol corev1.Protocol
}

// Amount is what a pod takes of its node. A pod takes one place of it.
type Amount struct {
	MilliCPU  int64
	Memory    int64
	Ephemeral int64
	Pods      int64
}

// Add is the sum of both.
func (a Amount) Add(b Amount) Amount {
	return Amount{a.MilliCPU + b.MilliCPU, a.Memory + b.Memory, a.Ephemeral + b.Ephemeral, a.Pods + b.Pods}
}

// AmountOf reads a node's allocatable resources.
func AmountOf(list corev1.ResourceList) Amount {
	return Amount{list.Cpu().MilliValue(), list.Memory().Value(), list.StorageEphemeral().Value(), list.Pods().Value()}
}

// RequestsOf is what the scheduler counts for a pod: the sum of its containers and sidecars, or one init container
// that asks for more, and the overhead.
func RequestsOf(spec *corev1.PodSpec) Amount {
	var sum, sidecars, largest Amount
	for i := range spec.InitContainers {
		container := &spec.InitContainers[i]
		one := AmountOf(container.Resources.Requests)
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars = sidecars.Add(one)
			one = Amount{}
		}
		largest = larger(largest, sidecars.Add(one))
	}
	for i := range spec.Containers {
		sum = sum.Add(AmountOf(spec.Containers[i].Resources.Requests))
	}
	total := larger(sum.Add(sidecars), largest).Add(AmountOf(spec.Overhead))
	total.Pods = 1
	return total
}

func larger(a, b Amount) Amount {
	return Amount{max(a.MilliCPU, b.MilliCPU), max(a.Memory, b.Memory), max(a.Ephemeral, b.Ephemeral), max(a.Pods, b.Pods)}
}

// Pods are those that take something of a node: all that are scheduled and have not ended.
func (v *View) Pods(ctx context.Context) ([]Pod, error) {
	return Once(ctx, v, "pods", func(ctx context.Context) ([]Pod, error) {
		var pods []Pod
		running := metav1.ListOptions{FieldSelector: "status.phase!=Succeeded,status.phase!=Failed"}
		err := kube.Pages(running, func(options metav1.ListOptions) (string, error) {
			list, err := v.Typed.CoreV1().Pods("").List(ctx, options)
			if err != nil {
				return "", err
			}
			for i := range list.Items {
				pod := &list.Items[i]
				if pod.Spec.NodeName != "" {
					pods = append(pods, Pod{Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName,
						Requests: RequestsOf(&pod.Spec), HostPorts: hostPorts(&pod.Spec)})
				}
			}
			return list.Continue, nil
		})
		return pods, err
	})
}

func hostPorts(spec *corev1.PodSpec) []HostPort {
	var ports []HostPort
	for i := range spec.Containers {
		for _, port := range spec.Containers[i].Ports {
			number := port.HostPort
			if number == 0 && spec.HostNetwork {
				number = port.ContainerPort
			}
			if number != 0 {
				ports = append(ports, HostPort{number, port.Protocol})
			}
		}
	}
	return ports
}
