package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Reason is why a probe pod told nothing.
type Reason string

// The reasons.
const (
	// Admission: the API server refuses the pod.
	Admission Reason = "admission"
	// Unschedulable: no node takes the pod.
	Unschedulable Reason = "unschedulable"
	// Mount: a volume can't be attached or mounted.
	Mount Reason = "mount"
	// Pull: the image can't be pulled.
	Pull Reason = "pull"
	// Settings: the container can't be made, for a Secret that does not exist for one.
	Settings Reason = "settings"
	// Evicted: the node got rid of the pod.
	Evicted Reason = "evicted"
	// Gone: somebody removed the pod.
	Gone Reason = "gone"
	// TooLong: it did not start or end in time.
	TooLong Reason = "too long"
	// Broken: it ended without a report that can be read.
	Broken Reason = "broken"
)

// Trouble is why a probe pod told nothing.
type Trouble struct {
	Reason  Reason
	Pod     string
	Node    string
	Image   string
	Message string
}

// Error says what happened.
func (t *Trouble) Error() string {
	where := ""
	if t.Node != "" {
		where = " on node " + t.Node
	}
	switch t.Reason {
	case Pull:
		return fmt.Sprintf("the image %s can't be pulled%s: %s", t.Image, where, t.Message)
	case Admission:
		return "the API server refuses the probe pod: " + t.Message
	case Unschedulable:
		return fmt.Sprintf("the probe pod can't be scheduled%s: %s", where, t.Message)
	case Mount:
		return fmt.Sprintf("a volume can't be mounted%s: %s", where, t.Message)
	}
	return fmt.Sprintf("the probe pod failed%s: %s", where, t.Message)
}

// How long a state that may pass by itself is given to do so.
const (
	unschedulablePatience = 10 * time.Second
	mountPatience         = 25 * time.Second
	pullPatience          = 5 * time.Second
)

// watcher follows a pod until it runs and tells why it does not.
type watcher struct {
	session *Session
	pod     Pod
	begun   time.Time
	// since is when a state was first seen.
	since   map[Reason]time.Time
	trouble *Trouble
	looked  time.Time
}

// look tells whether the pod runs, or has run.
func (w *watcher) look(ctx context.Context, pod *corev1.Pod) (bool, error) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return true, refusedByNode(pod)
	}
	if len(w.pod.Images) > 0 && len(pod.Status.ContainerStatuses) > 0 {
		return true, nil
	}
	if pod.Status.Phase == corev1.PodRunning && pod.Status.PodIP != "" && !slices.ContainsFunc(pod.Status.ContainerStatuses, waiting) {
		return true, nil
	}
	return false, w.diagnose(ctx, pod)
}

func waiting(status corev1.ContainerStatus) bool { return status.State.Waiting != nil }

// refusedByNode is what a kubelet says that does not take a pod.
func refusedByNode(pod *corev1.Pod) error {
	if pod.Status.Phase == corev1.PodFailed && len(pod.Status.ContainerStatuses) == 0 {
		return &Trouble{Reason: Unschedulable, Pod: pod.Name, Node: pod.Spec.NodeName, Message: strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)}
	}
	return nil
}

func (w *watcher) diagnose(ctx context.Context, pod *corev1.Pod) error {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason == corev1.PodReasonUnschedulable {
			return w.persist(&Trouble{Reason: Unschedulable, Pod: pod.Name, Node: w.pod.Node, Message: condition.Message}, unschedulablePatience)
		}
	}
	delete(w.since, Unschedulable)
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Waiting == nil {
			continue
		}
		trouble := &Trouble{Pod: pod.Name, Node: pod.Spec.NodeName, Image: status.Image, Message: status.State.Waiting.Message}
		switch PullState(status) {
		case PullFailed:
			trouble.Reason = Pull
			return w.persist(trouble, pullPatience)
		case PullDone:
			trouble.Reason = Settings
			return w.persist(trouble, pullPatience)
		}
	}
	if pod.Spec.NodeName == "" || time.Since(w.begun) < 4*time.Second || time.Since(w.looked) < 2*time.Second {
		return nil
	}
	w.looked = time.Now()
	if message := w.session.mountEvent(ctx, pod); message != "" {
		return w.persist(&Trouble{Reason: Mount, Pod: pod.Name, Node: pod.Spec.NodeName, Message: message}, mountPatience)
	}
	return nil
}

// persist returns the trouble once it has lasted so long.
func (w *watcher) persist(trouble *Trouble, patience time.Duration) error {
	if w.since == nil {
		w.since = map[Reason]time.Time{}
	}
	if w.since[trouble.Reason].IsZero() {
		w.since[trouble.Reason] = time.Now()
	}
	if w.trouble == nil || w.trouble.Reason != trouble.Reason || len(trouble.Message) > len(w.trouble.Message) {
		// A back-off tells less than the attempt before it did.
		w.trouble = trouble
	}
	if time.Since(w.since[trouble.Reason]) < patience {
		return nil
	}
	return w.trouble
}

// explain is the trouble of a pod that did not start in time. One that waits for a volume says so in the events of
// its claim.
func (w *watcher) explain(ctx context.Context) error {
	if w.trouble != nil {
		return w.trouble
	}
	message := fmt.Sprintf("it did not start within %s", w.session.config.Start)
	for _, volume := range w.pod.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		for _, event := range w.session.events(ctx, w.pod.Namespace, volume.PersistentVolumeClaim.ClaimName) {
			if event.Reason == "ProvisioningFailed" || event.Reason == "FailedBinding" {
				message = event.Message
			}
		}
	}
	return &Trouble{Reason: TooLong, Node: w.pod.Node, Message: message}
}

// mountEvent is the newest event of the pod about a volume.
func (s *Session) mountEvent(ctx context.Context, pod *corev1.Pod) string {
	message := ""
	for _, event := range s.events(ctx, pod.Namespace, pod.Name) {
		if event.InvolvedObject.UID != pod.UID {
			continue
		}
		switch event.Reason {
		case "FailedMount", "FailedAttachVolume", "FailedMapVolume":
			message = event.Message
		}
	}
	return message
}

// events are those about an object; none if they can't be read.
func (s *Session) events(ctx context.Context, namespace, name string) []corev1.Event {
	events, err := kube.List[corev1.Event](ctx, s.config.Client, kube.Events, namespace, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return nil
	}
	return events
}
