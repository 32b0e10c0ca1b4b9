package podstate

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestOf(t *testing.T) {
	waiting := func(reason, message string) *corev1.Pod {
		pod := &corev1.Pod{}
		pod.Spec.InitContainers = []corev1.Container{{Name: "copy", Image: "registry.test/cp:v9"}}
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "copy",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
		return pod
	}
	unschedulable := &corev1.Pod{}
	unschedulable.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes\nare available"}}
	ended := &corev1.Pod{}
	ended.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "migrate",
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"an image":         {waiting("ErrImagePull", "not\nfound"), "does not start: ErrImagePull of registry.test/cp:v9: not found"},
		"without words":    {waiting("ImagePullBackOff", ""), "does not start: ImagePullBackOff of registry.test/cp:v9"},
		"a container":      {waiting("CreateContainerConfigError", "no Secret"), "does not start: CreateContainerConfigError of registry.test/cp:v9: no Secret"},
		"no node":          {unschedulable, "can't be scheduled: 0/3 nodes are available"},
		"ended":            {ended, "failed: container migrate ended with exit code 137 (OOMKilled)"},
		"on its way":       {waiting("PodInitializing", ""), ""},
		"nothing is known": {&corev1.Pod{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Of(tc.pod)
			if ok != (tc.want != "") || ok && got.String() != tc.want {
				t.Errorf("got %v %q, want %q", ok, got, tc.want)
			}
		})
	}
	if got := OneLine(strings.Repeat("é", 400)); len([]rune(got)) != 301 {
		t.Errorf("a long text keeps %d characters", len([]rune(got)))
	}
}
