package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	k8sresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelpers "k8s.io/component-helpers/resource"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// quotas looks at what the API server says to each pod alone, and then whether all of them together fit.
func quotas(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	trials, err := tryPods(ctx, s)
	if err != nil {
		return nil, err
	}
	findings := exceeded(trials)
	if len(findings) > 0 {
		return findings, nil
	}
	if err := unjudged(trials, quota); err != nil {
		return nil, err
	}
	if s.Options.Upgrade {
		// What an installed release uses is counted already.
		return nil, nil
	}
	for _, namespace := range namespaces(s.Requirements) {
		list, err := kube.List[corev1.ResourceQuota](ctx, s.Cluster.Untyped, kube.ResourceQuotas, namespace,
			metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list the ResourceQuotas in namespace %s: %w", namespace, err)
		}
		for i := range list {
			findings = append(findings, sums(&list[i], s.Requirements)...)
		}
	}
	return findings, nil
}

func exceeded(trials []trial) []preflight.Finding {
	var findings []preflight.Finding
	for _, t := range trials {
		if classify(t.err) == quota {
			findings = append(findings, preflight.Finding{
				Object: t.object, Value: t.value,
				Found: fmt.Sprintf("a quota or limit range of namespace %s refuses a pod of %s: %s", t.namespace, t.object, kube.Brief(t.err)),
				Why:   "the pod is never made, and an install with --wait times out",
				Fix:   fmt.Sprintf("raise it (kubectl --namespace %s describe resourcequota,limitrange), or give containers that state none default requests and limits by a LimitRange", t.namespace),
			})
		}
	}
	return findings
}

func namespaces(set *requirement.Set) []string {
	all := []string{set.Namespace}
	if set.Workspaces != set.Namespace {
		all = append(all, set.Workspaces)
	}
	return all
}

// sums compares what a quota leaves with what the whole installation takes.
func sums(quota *corev1.ResourceQuota, set *requirement.Set) []preflight.Finding {
	if len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil {
		return nil // it counts only some pods
	}
	takes := total(quota.Namespace, set)
	var findings []preflight.Finding
	for _, name := range slices.Sorted(maps.Keys(quota.Status.Hard)) {
		wanted, counted := takes[name]
		if !counted {
			continue
		}
		left := quota.Status.Hard[name].DeepCopy()
		left.Sub(quota.Status.Used[name])
		if wanted.Cmp(left) > 0 {
			findings = append(findings, preflight.Finding{
				Object: fmt.Sprintf("ResourceQuota %s/%s", quota.Namespace, quota.Name),
				Found:  fmt.Sprintf("quota %s leaves %s of %s in namespace %s, and the platform takes %s", quota.Name, left.String(), name, quota.Namespace, wanted.String()),
				Why:    "some of its pods are never made, and an install with --wait times out",
				Fix:    fmt.Sprintf("kubectl --namespace %s edit resourcequota %s", quota.Namespace, quota.Name),
			})
		}
	}
	return findings
}

// total is what all pods and claims of a namespace count for, under the names that quotas use.
func total(namespace string, set *requirement.Set) corev1.ResourceList {
	sum := corev1.ResourceList{}
	add := func(name corev1.ResourceName, amount k8sresource.Quantity) {
		have := sum[name]
		have.Add(amount)
		sum[name] = have
	}
	for _, pod := range set.Pods {
		if pod.Namespace != namespace || pod.Job || pod.EveryNode {
			continue
		}
		one := &corev1.Pod{Spec: pod.Spec}
		requests, limits := resourcehelpers.PodRequests(one, resourcehelpers.PodResourcesOptions{}), resourcehelpers.PodLimits(one, resourcehelpers.PodResourcesOptions{})
		for range pod.Replicas {
			add(corev1.ResourcePods, *k8sresource.NewQuantity(1, k8sresource.DecimalSI))
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				add("requests."+name, requests[name])
				add(name, requests[name])
				add("limits."+name, limits[name])
			}
		}
	}
	for _, claim := range set.Claims {
		for range claim.Count {
			if claim.Namespace == namespace {
				add(corev1.ResourcePersistentVolumeClaims, *k8sresource.NewQuantity(1, k8sresource.DecimalSI))
				add(corev1.ResourceRequestsStorage, claim.Size)
			}
		}
	}
	for _, port := range set.NodePorts {
		if port.Namespace == namespace {
			add(corev1.ResourceServicesNodePorts, *k8sresource.NewQuantity(1, k8sresource.DecimalSI))
		}
	}
	return sum
}
