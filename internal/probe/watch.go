package probe

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/poddiag"
)

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
	since   map[poddiag.Kind]time.Time
	trouble *poddiag.Trouble
	looked  time.Time
}

// look tells whether the pod runs, or has run.
func (w *watcher) look(ctx context.Context, pod *corev1.Pod) (bool, error) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		if t, ok := poddiag.Of(pod); ok && t.Kind == poddiag.Rejected {
			return true, &t
		}
		return true, nil
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

// patience is how long each sort of trouble is given to pass by itself.
var patience = map[poddiag.Kind]time.Duration{
	poddiag.Unschedulable: unschedulablePatience, poddiag.Mount: mountPatience, poddiag.Image: pullPatience, poddiag.Start: pullPatience,
}

func (w *watcher) diagnose(ctx context.Context, pod *corev1.Pod) error {
	t, ok := poddiag.Of(pod)
	if !ok || t.Kind != poddiag.Unschedulable {
		delete(w.since, poddiag.Unschedulable)
	}
	if ok && patience[t.Kind] > 0 {
		if t.Node == "" {
			t.Node = w.pod.Node
		}
		return w.persist(&t)
	}
	if pod.Spec.NodeName == "" || time.Since(w.begun) < 4*time.Second || time.Since(w.looked) < 2*time.Second {
		return nil
	}
	w.looked = time.Now()
	if t, ok := w.session.diagnosis().OfMount(ctx, pod); ok {
		return w.persist(&t)
	}
	return nil
}

// persist returns the trouble once it has lasted so long.
func (w *watcher) persist(trouble *poddiag.Trouble) error {
	if w.since == nil {
		w.since = map[poddiag.Kind]time.Time{}
	}
	if w.since[trouble.Kind].IsZero() {
		w.since[trouble.Kind] = time.Now()
	}
	if w.trouble == nil || w.trouble.Kind != trouble.Kind || len(trouble.Message) > len(w.trouble.Message) {
		// A back-off tells less than the attempt before it did.
		w.trouble = trouble
	}
	if time.Since(w.since[trouble.Kind]) < patience[trouble.Kind] {
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
		if event := w.session.diagnosis().OfClaim(ctx, w.pod.Namespace, volume.PersistentVolumeClaim.ClaimName); event != "" {
			message = event
		}
	}
	return &poddiag.Trouble{Kind: poddiag.TooLong, Node: w.pod.Node, Message: message}
}

func (s *Session) diagnosis() poddiag.Client { return poddiag.Client{Client: s.config.Client} }
