package poddiag

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
	rejected := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: "Node didn't have enough\nresource: cpu"}}
	evicted := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"an image":          {waiting("ErrImagePull", "not\nfound"), "does not start: ErrImagePull of registry.test/cp:v9: not found"},
		"without words":     {waiting("ImagePullBackOff", ""), "does not start: ImagePullBackOff of registry.test/cp:v9"},
		"a container":       {waiting("CreateContainerConfigError", "no Secret"), "does not start: CreateContainerConfigError of registry.test/cp:v9: no Secret"},
		"no node":           {unschedulable, "can't be scheduled: 0/3 nodes are available"},
		"ended":             {ended, "failed: container migrate ended with exit code 137 (OOMKilled)"},
		"an unsigned image": {waiting("SignatureValidationFailed", "no signature"), "does not start: SignatureValidationFailed of registry.test/cp:v9: no signature"},
		"a hook of it":      {waiting("PostStartHookError", "exit 1"), "does not start: PostStartHookError of registry.test/cp:v9: exit 1"},
		"rejected":          {rejected, "is not taken by its node: OutOfcpu Node didn't have enough resource: cpu"},
		"evicted":           {evicted, "was evicted: The node was low on resource: memory."},
		"on its way":        {waiting("PodInitializing", ""), ""},
		"nothing is known":  {&corev1.Pod{}, ""},
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

func TestPullOf(t *testing.T) {
	waiting := func(reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
	}
	for want, statuses := range map[Pull][]corev1.ContainerStatus{
		PullUnknown: {{}, waiting("ContainerCreating"), waiting("PodInitializing")},
		PullFailed:  {waiting("ErrImagePull"), waiting("ImagePullBackOff"), waiting("InvalidImageName")},
		PullDone: {waiting("CreateContainerError"), waiting("CreateContainerConfigError"), waiting("RunContainerError"),
			{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "StartError"}}}, {State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
	} {
		for _, status := range statuses {
			if got := PullOf(status); got != want {
				t.Errorf("%+v: %d, want %d", status.State, got, want)
			}
		}
	}
}

func TestErrorOfAProbePod(t *testing.T) {
	for kind, want := range map[Kind]string{
		Image:         "the image probe:1 can't be pulled on node node1",
		Start:         "the container of image probe:1 can't be started on node node1 (CreateContainerError)",
		Admission:     "the API server refuses the probe pod",
		Unschedulable: "the probe pod can't be scheduled on node node1",
		Rejected:      "the probe pod was rejected on node node1",
		Mount:         "a volume can't be mounted on node node1",
		Evicted:       "the probe pod was evicted on node node1",
		Gone:          "someone else deleted the probe pod on node node1",
		Failed:        "the probe pod failed on node node1",
		Broken:        "the probe pod failed on node node1",
		TooLong:       "the probe pod failed on node node1",
	} {
		trouble := &Trouble{
			Kind: kind, Pod: "neutree-preflight-x7k2", Node: "node1", Image: "probe:1", Reason: "CreateContainerError",
		}
		if got := trouble.Error(); got != want {
			t.Errorf("%s without words: %q, want %q", kind, got, want)
		}
		trouble.Message = "two\n  lines"
		if got := trouble.Error(); got != want+": two lines" {
			t.Errorf("%s: %q, want %q", kind, got, want+": two lines")
		}
	}
	if got, want := (&Trouble{Kind: TooLong, Message: "late"}).Error(), "the probe pod failed: late"; got != want {
		t.Errorf("without a node: %q, want %q", got, want)
	}
}
