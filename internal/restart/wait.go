package restart

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/poddiag"
)

// diagnoseTime bounds the look for a cause when the time for the wait is up already.
const diagnoseTime = 10 * time.Second

// Wait returns when the new pods of all readers are available and their old ones are gone. Its error names a Deployment
// whose pods do not become ready, and why.
func (r *Restarter) Wait(ctx context.Context, readers []Reader) error {
	var late *appsv1.Deployment
	err := hook.Poll(ctx, r.Log, "the new pods", func(ctx context.Context) (bool, string, error) {
		var missing []string
		var first *appsv1.Deployment
		for _, reader := range readers {
			live, err := Deployment(ctx, r.Client, r.Namespace, reader.Name)
			if err != nil {
				return false, kube.Brief(err), nil
			}
			if live == nil {
				continue
			}
			left := rollout(live)
			if left == "" {
				continue
			}
			if gaveUp(live) {
				return false, "", r.notReady(ctx, live, left)
			}
			missing = append(missing, live.Name+": "+left)
			if first == nil {
				first = live
			}
		}
		late = first
		return len(missing) == 0, strings.Join(missing, "; "), nil
	})
	if err == nil || ctx.Err() != context.DeadlineExceeded || late == nil {
		return err
	}
	// The time of ctx is up, and the cause is still worth a request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseTime)
	defer cancel()
	return r.notReady(ctx, late, rollout(late))
}

// rollout says what a Deployment lacks until its new pods alone serve, "" for nothing.
func rollout(live *appsv1.Deployment) string {
	want, status := ptr.Deref(live.Spec.Replicas, 1), live.Status
	switch {
	case status.ObservedGeneration < live.Generation:
		return "its new pods are not created yet"
	case status.UpdatedReplicas < want:
		return fmt.Sprintf("%d of %d new pods are created", status.UpdatedReplicas, want)
	case status.Replicas > status.UpdatedReplicas:
		return fmt.Sprintf("%d old pods still run", status.Replicas-status.UpdatedReplicas)
	case status.AvailableReplicas < want:
		return fmt.Sprintf("%d of %d new pods are ready", status.AvailableReplicas, want)
	}
	return ""
}

// gaveUp says whether the Deployment's own deadline has passed.
func gaveUp(live *appsv1.Deployment) bool {
	return slices.ContainsFunc(live.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse &&
			live.Status.ObservedGeneration >= live.Generation
	})
}

// notReady says which Deployment is not ready, and why by its pods.
func (r *Restarter) notReady(ctx context.Context, live *appsv1.Deployment, left string) error {
	return hook.Errorf(hook.Unexpected, "Deployment %s in namespace %s is not ready: %s",
		live.Name, r.Namespace, r.trouble(ctx, live, left))
}

// trouble is what keeps one of the new pods from being ready, or left where nothing says so.
func (r *Restarter) trouble(ctx context.Context, live *appsv1.Deployment, left string) string {
	selector, err := metav1.LabelSelectorAsSelector(live.Spec.Selector)
	if err != nil || selector.Empty() {
		return left
	}
	pods, err := kube.List[corev1.Pod](ctx, r.Client, kube.Pods, r.Namespace,
		metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return left + " (" + kube.Brief(err) + ")"
	}
	version := live.Spec.Template.Annotations[Annotation]
	diagnose := poddiag.Client{Client: r.Client}
	for i := range pods {
		if pods[i].Annotations[Annotation] != version {
			continue
		}
		if trouble, is := diagnose.Of(ctx, &pods[i]); is {
			return fmt.Sprintf("%s; pod %s %s", left, pods[i].Name, trouble)
		}
	}
	return left
}
