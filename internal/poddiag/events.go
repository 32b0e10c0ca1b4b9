package poddiag

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Client finds trouble that only events tell of. Events that can't be read tell of none.
type Client struct {
	Client *kube.Client
}

// Of is the trouble of a pod by its status, else by its events: a volume that can't be mounted shows nowhere else.
func (c Client) Of(ctx context.Context, pod *corev1.Pod) (Trouble, bool) {
	if t, ok := Of(pod); ok || pod.Status.Phase != corev1.PodPending {
		return t, ok
	}
	event := c.last(ctx, pod.Namespace, "Pod", pod.Name, func(e *corev1.Event) bool {
		return (e.InvolvedObject.UID == "" || e.InvolvedObject.UID == pod.UID) && e.Type == corev1.EventTypeWarning
	})
	if event == nil {
		return Trouble{}, false
	}
	return Trouble{Kind: Mount, Pod: pod.Name, Node: pod.Spec.NodeName, Reason: event.Reason, Message: flat(event.Message)}, true
}

// OfMount is the newest event about a volume of the pod that can't be mounted.
func (c Client) OfMount(ctx context.Context, pod *corev1.Pod) (Trouble, bool) {
	event := c.last(ctx, pod.Namespace, "Pod", pod.Name, func(e *corev1.Event) bool {
		return e.InvolvedObject.UID == pod.UID && slices.Contains([]string{"FailedMount", "FailedAttachVolume", "FailedMapVolume"}, e.Reason)
	})
	if event == nil {
		return Trouble{}, false
	}
	return Trouble{Kind: Mount, Pod: pod.Name, Node: pod.Spec.NodeName, Reason: event.Reason, Message: flat(event.Message)}, true
}

// OfClaim is what keeps a PVC from being bound, "" where nothing says so.
func (c Client) OfClaim(ctx context.Context, namespace, name string) string {
	const kind = "PersistentVolumeClaim"
	event := c.last(ctx, namespace, kind, name, func(e *corev1.Event) bool { return e.Type == corev1.EventTypeWarning })
	if event == nil {
		// A PVC on a class that no provisioner serves gets only normal events.
		event = c.last(ctx, namespace, kind, name, func(e *corev1.Event) bool {
			return e.Reason == "ExternalProvisioning" || e.Reason == "FailedBinding"
		})
	}
	if event == nil {
		return ""
	}
	return OneLine(event.Message)
}

// last is the newest event about an object that matters.
func (c Client) last(ctx context.Context, namespace, kind, name string, matters func(*corev1.Event) bool) *corev1.Event {
	var last *corev1.Event
	err := kube.Each(ctx, c.Client, kube.Events, namespace, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name,
	}, func(e *corev1.Event) {
		if matters(e) && (last == nil || !when(e).Before(when(last))) {
			last = e.DeepCopy()
		}
	})
	if err != nil {
		return nil
	}
	return last
}

func when(e *corev1.Event) *metav1.Time {
	if !e.LastTimestamp.IsZero() {
		return &e.LastTimestamp
	}
	if !e.EventTime.IsZero() {
		return &metav1.Time{Time: e.EventTime.Time}
	}
	return &e.CreationTimestamp
}
