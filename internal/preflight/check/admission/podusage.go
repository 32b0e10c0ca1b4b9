package admission

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	resourcehelpers "k8s.io/component-helpers/resource"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// everyPod is the name under which quotas count pods that have ended, too.
const everyPod = corev1.ResourceName("count/pods")

// usage is what one pod counts for, under the names that quotas use.
func usage(spec corev1.PodSpec) corev1.ResourceList {
	pod := &corev1.Pod{Spec: spec}
	list := number(1, corev1.ResourcePods, everyPod)
	for name, amount := range resourcehelpers.PodRequests(pod, resourcehelpers.PodResourcesOptions{}) {
		list["requests."+name] = amount
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			list[name] = amount
		}
	}
	for name, amount := range resourcehelpers.PodLimits(pod, resourcehelpers.PodResourcesOptions{}) {
		list["limits."+name] = amount
	}
	return list
}

// jobs are Jobs of one phase: one runs at a time, and their pods stay until all have ended.
type jobs struct {
	most corev1.ResourceList
	pods int64
}

func (j *jobs) add(one corev1.ResourceList) { j.most, j.pods = highest(j.most, one), j.pods+1 }

// during adds them to a moment.
func (j *jobs) during(list corev1.ResourceList) {
	plus(list, j.most, 1)
	plus(list, number(1, everyPod), max(0, j.pods-1))
}

// pods counts pods and what they ask for: those that stay, and the Jobs of each moment. An upgrade replaces the pods of
// workloads by new ones, which come first; it needs room for one.
func (d *demand) pods(ctx context.Context) error {
	set := d.s.Requirements
	before, after := d.hooks()
	hooks := map[string]*requirement.Object{}
	for i, object := range set.Objects {
		if object.Hook != nil {
			hooks[object.GetKind()+" "+object.GetName()] = &set.Objects[i]
		}
	}
	stay, surge := corev1.ResourceList{}, corev1.ResourceList{}
	var first, between, last, run jobs
	for _, pod := range set.Pods {
		if pod.Namespace != d.namespace || pod.By == requirement.Runner && d.s.Options.Upgrade {
			continue
		}
		one := usage(pod.Spec)
		switch object := hooks[pod.Owner]; {
		case object == nil && pod.Job:
			between.add(one)
		case object == nil:
			wanted, has, err := d.replicas(ctx, pod)
			if err != nil {
				return err
			}
			plus(stay, one, wanted)
			plus(stay, has.usage, -has.number)
			if has.number > 0 && pod.Surge > 0 {
				surge = highest(surge, one)
			}
		case object.Hook.On(before):
			first.add(one)
		case object.Hook.On(after):
			last.add(one)
		}
	}
	if d.s.Options.Upgrade && d.namespace == set.Namespace {
		for _, pod := range set.HookJobs {
			run.add(usage(pod.Spec))
		}
	}
	first.during(d.before)
	run.during(d.before)
	plus(d.main, stay, 1)
	plus(d.main, surge, 1)
	between.during(d.main)
	plus(d.after, stay, 1)
	last.during(d.after)
	return nil
}

// live is how many pods a workload has, and what each of them counts for.
type live struct {
	number int64
	usage  corev1.ResourceList
}

// replicas is how many pods a workload is to have, and what it has.
func (d *demand) replicas(ctx context.Context, pod requirement.Pod) (wanted int64, has live, err error) {
	wanted = int64(pod.Replicas)
	if pod.EveryNode {
		nodes, err := d.s.Cluster.Nodes(ctx)
		if err != nil {
			return 0, live{}, fmt.Errorf("list the nodes: %w", err)
		}
		wanted = int64(len(cluster.Eligible(nodes, &pod.Spec)))
	}
	if !d.s.Options.Upgrade {
		return wanted, live{}, nil
	}
	kind, name, _ := strings.Cut(pod.Owner, " ")
	has, err = d.live(ctx, kind, name, pod)
	if apierrors.IsNotFound(err) {
		return wanted, live{}, nil
	}
	if err != nil {
		return 0, live{}, fmt.Errorf("read %s in namespace %s: %w", pod.Owner, pod.Namespace, err)
	}
	return wanted, has, nil
}

func (d *demand) live(ctx context.Context, kind, name string, pod requirement.Pod) (live, error) {
	client := d.s.Cluster.Untyped
	switch kind {
	case "Deployment":
		found, err := kube.Get[appsv1.Deployment](ctx, client, kube.Deployments, pod.Namespace, name)
		if err != nil {
			return live{}, err
		}
		return live{replicasOf(found.Spec.Replicas), usage(found.Spec.Template.Spec)}, nil
	case "StatefulSet":
		found, err := kube.Get[appsv1.StatefulSet](ctx, client, kube.StatefulSets, pod.Namespace, name)
		if err != nil {
			return live{}, err
		}
		return live{replicasOf(found.Spec.Replicas), usage(found.Spec.Template.Spec)}, nil
	case "DaemonSet":
		sets := appsv1.SchemeGroupVersion.WithResource("daemonsets")
		found, err := kube.Get[appsv1.DaemonSet](ctx, client, sets, pod.Namespace, name)
		if err != nil {
			return live{}, err
		}
		return live{int64(found.Status.DesiredNumberScheduled), usage(found.Spec.Template.Spec)}, nil
	case "Cluster":
		found, err := client.Resource(kube.Clusters, pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return live{}, err
		}
		instances, _, _ := unstructured.NestedInt64(found.Object, "spec", "instances")
		return live{instances, usage(pod.Spec)}, nil
	}
	return live{}, nil
}

func replicasOf(n *int32) int64 {
	if n == nil {
		return 1
	}
	return int64(*n)
}
