package requirement

import (
	"cmp"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/neutree-ai/packaging/internal/chart"
)

// pods are those of the rendered workloads, hooks included.
func (d *derivation) pods(*chart.Rendered) error {
	for _, o := range each[appsv1.Deployment](d, "Deployment") {
		replicas := orOne(o.typed.Spec.Replicas)
		surge := int32(0)
		if strategy := o.typed.Spec.Strategy; strategy.Type != appsv1.RecreateDeploymentStrategyType {
			surge = 1
			if replicas > 1 {
				surge = max(1, replicas/4)
			}
			if rolling := strategy.RollingUpdate; rolling != nil && rolling.MaxSurge != nil {
				if n, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxSurge, int(replicas), true); err == nil {
					surge = int32(n)
				}
			}
		}
		d.pod(o.Object, Pod{Replicas: replicas, Surge: surge}, o.typed.Spec.Template)
	}
	for _, o := range each[appsv1.StatefulSet](d, "StatefulSet") {
		d.pod(o.Object, Pod{Replicas: orOne(o.typed.Spec.Replicas)}, o.typed.Spec.Template)
	}
	for _, o := range each[appsv1.DaemonSet](d, "DaemonSet") {
		d.pod(o.Object, Pod{EveryNode: true}, o.typed.Spec.Template)
	}
	for _, o := range each[batchv1.Job](d, "Job") {
		d.pod(o.Object, Pod{Job: true, Surge: cmp.Or(orOne(o.typed.Spec.Parallelism), 1)}, o.typed.Spec.Template)
	}
	for _, o := range each[batchv1.CronJob](d, "CronJob") {
		d.pod(o.Object, Pod{Job: true, Surge: 1}, o.typed.Spec.JobTemplate.Spec.Template)
	}
	for _, o := range each[corev1.Pod](d, "Pod") {
		d.pod(o.Object, Pod{Job: true, Surge: 1}, corev1.PodTemplateSpec{ObjectMeta: o.typed.ObjectMeta, Spec: o.typed.Spec})
	}
	return nil
}

func (d *derivation) pod(object Object, pod Pod, template corev1.PodTemplateSpec) {
	pod.Owner, pod.Namespace, pod.By = object.GetKind()+" "+object.GetName(), object.GetNamespace(), object.By
	pod.Labels, pod.Spec = template.Labels, template.Spec
	pod.Why = cmp.Or(object.GetLabels()["app.kubernetes.io/component"], object.GetName())
	d.set.Pods = append(d.set.Pods, pod)
}

func orOne(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// env is the literal environment of a workload's main container.
func (d *derivation) env(workload string) map[string]string {
	env := map[string]string{}
	owner := "Deployment " + d.set.Prefix + "-" + workload
	i := slices.IndexFunc(d.set.Pods, func(p Pod) bool { return p.Owner == owner && len(p.Spec.Containers) > 0 })
	if i < 0 {
		return env
	}
	for _, v := range d.set.Pods[i].Spec.Containers[0].Env {
		env[v.Name] = v.Value
	}
	return env
}

// Containers are all of a pod's, init containers first.
func (p Pod) Containers() []corev1.Container {
	return slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
}
