// Package poddiag says why a pod does not start or run. It is the only place that knows the words in which Kubernetes
// says so: hooks, probes and the database's bring-up all ask it, and decide themselves how long they wait.
package poddiag

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/finding"
)

// Kind is what sort of trouble a pod has.
type Kind string

// The sorts of trouble.
const (
	// Admission: the API server refuses the pod.
	Admission Kind = "admission"
	// Unschedulable: no node takes the pod, for now.
	Unschedulable Kind = "unschedulable"
	// Rejected: the kubelet of the node that was chosen does not take it.
	Rejected Kind = "rejected"
	// Mount: a volume can't be provisioned, attached or mounted.
	Mount Kind = "mount"
	// Image: an image can't be pulled or is not one.
	Image Kind = "image"
	// Start: the container can't be made or started, or ends again and again.
	Start Kind = "start"
	// Failed: a container ended with an error.
	Failed Kind = "failed"
	// Evicted: the node got rid of the pod.
	Evicted Kind = "evicted"
	// Gone: someone removed the pod.
	Gone Kind = "gone"
	// TooLong: it did not start or end in time.
	TooLong Kind = "too long"
	// Broken: it ended without saying what it was to say.
	Broken Kind = "broken"
)

// Trouble is what keeps one pod from doing its work.
type Trouble struct {
	Kind Kind
	// Pod and Node are empty where they are not known.
	Pod, Node string
	// Container and Image are empty where the trouble is the whole pod's.
	Container, Image string
	// Reason is Kubernetes' own word, Message its whole explanation on one line.
	Reason, Message string
	// ExitCode is that of a container that failed.
	ExitCode int32
	// Claims are the PVCs of a pod that finds no node.
	Claims []string
}

var imageReasons = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable",
	"SignatureValidationFailed",
}

var startReasons = []string{
	"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError",
	"PreStartHookError", "PostStartHookError",
}

// Of looks in a pod's status for trouble that does not pass by itself. What shows in events only is found by Client.
func Of(pod *corev1.Pod) (Trouble, bool) {
	t := Trouble{Pod: pod.Name, Node: pod.Spec.NodeName}
	if pod.Status.Reason == "Evicted" {
		t.Kind, t.Reason, t.Message = Evicted, pod.Status.Reason, flat(pod.Status.Message)
		return t, true
	}
	statuses := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	if pod.Status.Phase == corev1.PodFailed && len(statuses) == 0 {
		t.Kind, t.Reason = Rejected, pod.Status.Reason
		t.Message = flat(pod.Status.Reason + " " + pod.Status.Message)
		return t, true
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			t.Kind, t.Reason, t.Message = Unschedulable, condition.Reason, flat(condition.Message)
			t.Claims = claimsOf(pod)
			return t, true
		}
	}
	for _, status := range statuses {
		if of(status, &t) {
			if t.Image == "" {
				t.Image = imageOf(pod, status.Name)
			}
			return t, true
		}
	}
	return Trouble{}, false
}

// of fills in what keeps a container from running.
func of(status corev1.ContainerStatus, t *Trouble) bool {
	kind := Failed
	switch waiting, ended := status.State.Waiting, status.State.Terminated; {
	case waiting != nil && slices.Contains(imageReasons, waiting.Reason):
		kind, t.Reason, t.Message = Image, waiting.Reason, flat(waiting.Message)
	case waiting != nil && slices.Contains(startReasons, waiting.Reason):
		kind, t.Reason, t.Message = Start, waiting.Reason, flat(waiting.Message)
	case ended != nil && ended.ExitCode != 0:
		t.Reason, t.Message, t.ExitCode = ended.Reason, flat(ended.Message), ended.ExitCode
	default:
		return false
	}
	t.Kind, t.Container, t.Image = kind, status.Name, status.Image
	return true
}

func imageOf(pod *corev1.Pod, container string) string {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}

// Pull is how far the pull of an image is.
type Pull int

// The states of a pull.
const (
	// PullUnknown: it is under way, or has not begun.
	PullUnknown Pull = iota
	// PullFailed: an attempt failed.
	PullFailed
	// PullDone: the image is on the node.
	PullDone
)

// PullOf tells by its status how far the pull of a container's image is.
func PullOf(status corev1.ContainerStatus) Pull {
	switch waiting := status.State.Waiting; {
	case status.State.Running != nil, status.State.Terminated != nil:
		return PullDone
	case waiting == nil:
		return PullUnknown
	case slices.Contains(imageReasons, waiting.Reason):
		return PullFailed
	case slices.Contains(startReasons, waiting.Reason):
		return PullDone
	}
	return PullUnknown
}

// String completes the sentence "pod x …".
func (t Trouble) String() string {
	message := OneLine(t.Message)
	switch t.Kind {
	case Unschedulable:
		return "can't be scheduled: " + message
	case Failed:
		return strings.TrimSpace(fmt.Sprintf("failed: container %s ended with exit code %d (%s) %s", t.Container, t.ExitCode, t.Reason, message))
	case Rejected:
		return "is not taken by its node: " + message
	case Mount:
		return "is Pending: " + message
	case Image, Start:
		return strings.TrimSuffix(fmt.Sprintf("does not start: %s of %s: %s", t.Reason, t.Image, message), ": ")
	case Admission:
		return "is refused by the API server: " + message
	case Evicted:
		return "was evicted: " + message
	}
	return "failed: " + message
}

// Error says what happened to a probe pod. It leaves out the pod's name, which is random.
func (t *Trouble) Error() string {
	where := ""
	if t.Node != "" {
		where = " on node " + t.Node
	}
	what := "the probe pod failed" + where
	switch t.Kind {
	case Image:
		what = fmt.Sprintf("the image %s can't be pulled%s", t.Image, where)
	case Start:
		what = fmt.Sprintf("the container of image %s can't be started%s (%s)", t.Image, where, t.Reason)
	case Admission:
		what = "the API server refuses the probe pod"
	case Unschedulable:
		what = "the probe pod can't be scheduled" + where
	case Rejected:
		what = "the probe pod was rejected" + where
	case Mount:
		what = "a volume can't be mounted" + where
	case Evicted:
		what = "the probe pod was evicted" + where
	case Gone:
		what = "someone else deleted the probe pod" + where
	}
	if message := flat(t.Message); message != "" {
		return what + ": " + message
	}
	return what
}

// ids are those of the findings that the sorts of trouble are.
var ids = map[Kind]finding.ID{
	Admission: finding.AdmissionPolicy, Unschedulable: finding.NodesMatch, Rejected: finding.NodesMatch, Mount: finding.StorageMount, Image: finding.ImagesPull,
	Start: finding.PodsStart, Failed: finding.PodsFailed, Broken: finding.PodsFailed, Evicted: finding.PodsEvicted,
	Gone: finding.PodsEvicted, TooLong: finding.PodsStart,
}

// Finding is the trouble as a finding about a pod that what names, e.g. "the pod of Job nap-migrate".
func (t Trouble) Finding(what string) finding.Finding {
	f := finding.Finding{ID: ids[t.Kind], Severity: finding.Error, Node: t.Node, Found: what + " " + t.String()}
	if t.Pod != "" {
		f.Object = "Pod " + t.Pod
	}
	if t.Kind == Image {
		f.Object, f.Value = "image "+t.Image, "global.images"
	}
	if t.VolumeElsewhere() && len(t.Claims) > 0 {
		t.volumes(&f)
	}
	return f
}

// longest is more than any reader's patience.
const longest = 300

// OneLine is text without line breaks, cut to a readable length.
func OneLine(text string) string {
	text = flat(text)
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return text
}

func flat(text string) string { return strings.Join(strings.Fields(text), " ") }
