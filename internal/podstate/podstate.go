// Package podstate says what keeps a pod from doing its work, in words for the person who has to mend it.
package podstate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Kind tells what sort of trouble a pod has.
type Kind int

// The sorts of trouble.
const (
	// Unschedulable: no node takes the pod, for now.
	Unschedulable Kind = iota
	// Image: an image can't be pulled or is not one.
	Image
	// Start: the container can't be made or started, or ends again and again.
	Start
	// Failed: a container ended with an error.
	Failed
)

// Trouble is what keeps one pod from doing its work.
type Trouble struct {
	Kind Kind
	// Container and Image are empty for a pod that no node takes.
	Container, Image string
	// Reason is Kubernetes' own word, Message its explanation on one line.
	Reason, Message string
	// ExitCode is that of a container that failed.
	ExitCode int32
}

var imageReasons = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable",
}

var startReasons = []string{"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}

// Of looks for trouble that does not pass by itself.
func Of(pod *corev1.Pod) (Trouble, bool) {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return Trouble{Kind: Unschedulable, Reason: condition.Reason, Message: OneLine(condition.Message)}, true
		}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if trouble, ok := ofContainer(status); ok {
			if trouble.Image == "" {
				trouble.Image = imageOf(pod, status.Name)
			}
			return trouble, true
		}
	}
	return Trouble{}, false
}

func ofContainer(status corev1.ContainerStatus) (Trouble, bool) {
	t := Trouble{Container: status.Name, Image: status.Image}
	if waiting := status.State.Waiting; waiting != nil {
		t.Reason, t.Message = waiting.Reason, OneLine(waiting.Message)
		switch {
		case slices.Contains(imageReasons, waiting.Reason):
			t.Kind = Image
			return t, true
		case slices.Contains(startReasons, waiting.Reason):
			t.Kind = Start
			return t, true
		}
	}
	if ended := status.State.Terminated; ended != nil && ended.ExitCode != 0 {
		t.Kind, t.Reason, t.Message, t.ExitCode = Failed, ended.Reason, OneLine(ended.Message), ended.ExitCode
		return t, true
	}
	return t, false
}

func imageOf(pod *corev1.Pod, container string) string {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}

// String completes the sentence "pod x …".
func (t Trouble) String() string {
	switch t.Kind {
	case Unschedulable:
		return "can't be scheduled: " + t.Message
	case Failed:
		return strings.TrimSpace(fmt.Sprintf("failed: container %s ended with exit code %d (%s) %s", t.Container, t.ExitCode, t.Reason, t.Message))
	}
	return strings.TrimSuffix(fmt.Sprintf("does not start: %s of %s: %s", t.Reason, t.Image, t.Message), ": ")
}

// longest is more than any reader's patience.
const longest = 300

// OneLine is text without line breaks, cut where nobody would read on.
func OneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return text
}
