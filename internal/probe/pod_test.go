package probe

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/neutree-ai/packaging/internal/probe/agent"
)

func session(t *testing.T) *Session {
	t.Helper()
	return New(Config{Image: "example.com/nap-hooks:1", PullSecrets: []string{"login"}, Namespace: "nap"})
}

func tasks() []agent.Task {
	return []agent.Task{{ID: "names", Resolve: &agent.Resolve{Names: []string{"localhost"}}}}
}

func build(t *testing.T, p Pod) *corev1.Pod {
	t.Helper()
	pod, err := session(t).build(p)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// Probes ask for no more than what they prove takes, by Pod Security's own rules.
func TestPodSecurity(t *testing.T) {
	volume := []corev1.Volume{{Name: "volume", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	for name, test := range map[string]struct {
		pod   Pod
		level api.Level
	}{
		"tasks":        {Pod{Containers: []Container{{Name: "probe", Tasks: tasks()}}}, api.LevelRestricted},
		"with volumes": {Pod{Containers: []Container{{Name: "probe", Tasks: tasks(), User: 26}}, Volumes: volume}, api.LevelRestricted},
		"images":       {Pod{Images: []Image{{Ref: "example.com/root:1"}}}, api.LevelRestricted},
		"privileged":   {Pod{Containers: []Container{{Name: "probe", Tasks: tasks(), Privileged: true}}}, api.LevelPrivileged},
		"host network": {Pod{Containers: []Container{{Name: "probe", Tasks: tasks()}}, HostNetwork: true}, api.LevelPrivileged},
	} {
		t.Run(name, func(t *testing.T) {
			pod := build(t, test.pod)
			evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: test.level, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s does not admit it: %s %s", test.level, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			for _, container := range pod.Spec.Containers {
				for _, list := range []corev1.ResourceList{container.Resources.Requests, container.Resources.Limits} {
					if list.Cpu().IsZero() || list.Memory().IsZero() {
						t.Errorf("container %s states no requests or limits", container.Name)
					}
				}
			}
			if pod.Labels[RunLabel] == "" || pod.Spec.ActiveDeadlineSeconds == nil || *pod.Spec.AutomountServiceAccountToken {
				t.Errorf("label, deadline or token: %+v", pod)
			}
		})
	}
}

// Labels of the user's reach every object of a session, and its own, by which it is removed, win.
func TestLabels(t *testing.T) {
	s := New(Config{Labels: map[string]string{"team": "platform", RunLabel: "mine"}})
	if got := s.meta("nap", "any").Labels; got["team"] != "platform" || got[RunLabel] != s.ID() {
		t.Errorf("labels %v", got)
	}
}

// A pod is bound to its node by the scheduler, which volumes need, in addition to what its workload asks for.
func TestAffinity(t *testing.T) {
	base := &corev1.Affinity{
		PodAntiAffinity: &corev1.PodAntiAffinity{},
		NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
			{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "a", Operator: corev1.NodeSelectorOpExists}}},
			{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "b", Operator: corev1.NodeSelectorOpExists}}},
		}}},
	}
	pod := build(t, Pod{Node: "node2", Affinity: base, Containers: []Container{{Name: "probe", Tasks: tasks()}}})
	terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	for _, term := range terms {
		if len(term.MatchExpressions) != 1 || len(term.MatchFields) != 1 || term.MatchFields[0].Values[0] != "node2" {
			t.Errorf("%+v", term)
		}
	}
	if len(terms) != 2 || pod.Spec.NodeName != "" || pod.Spec.Affinity.PodAntiAffinity != nil {
		t.Errorf("%+v", pod.Spec.Affinity)
	}
	if got := pod.Spec.ImagePullSecrets; len(got) != 1 || got[0].Name != "login" {
		t.Errorf("pull secrets %v", got)
	}
	if got := len(base.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields); got != 0 {
		t.Error("the workload's own affinity was changed")
	}
}

func terminated(message string, code int32) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.Spec.NodeName, pod.Status.Phase = "probe", "node1", corev1.PodSucceeded
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "probe", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{Message: message, ExitCode: code},
	}}}
	return pod
}

func TestCollect(t *testing.T) {
	p := Pod{Containers: []Container{{Name: "probe", Tasks: tasks()}}}
	outcome, err := collect(p, terminated(`{"results":[{"id":"names","facts":{"address":"127.0.0.1"}}]}`, 0))
	if err != nil || !outcome.Results["names"].OK() || outcome.Node != "node1" {
		t.Errorf("%+v, %v", outcome, err)
	}
	evicted := terminated("", 137)
	evicted.Status.Reason, evicted.Status.Message = "Evicted", "The node was low on resource: memory"
	silent := terminated("", 0)
	silent.Status.ContainerStatuses = nil
	memory := terminated("", 137)
	memory.Status.ContainerStatuses[0].State.Terminated.Reason = "OOMKilled"
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"no report":      {terminated("panic: out of luck", 2), "exit code 2: the probe's report is none"},
		"another report": {terminated(`{"results":[{"id":"other"}]}`, 0), `tells of "other"`},
		"evicted":        {evicted, "low on resource"},
		"silent":         {silent, "without a report"},
		"no memory":      {memory, "no memory left"},
	} {
		if _, err := collect(p, test.pod); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What keeps a pod from starting is told once it has lasted, in the words of whoever knows best.
func TestDiagnosis(t *testing.T) {
	status := func(reason, message string) *corev1.Pod {
		pod := &corev1.Pod{}
		pod.Spec.NodeName = "node1"
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: "example.com/nap-hooks:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
		return pod
	}
	full := &corev1.Pod{}
	full.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "Insufficient cpu"}}
	for name, test := range map[string]struct {
		seen []*corev1.Pod
		want string
	}{
		"image": {
			[]*corev1.Pod{status("ErrImagePull", "no such host example.com"), status("ImagePullBackOff", "Back-off")},
			"the image example.com/nap-hooks:1 can't be pulled on node node1: no such host example.com",
		},
		"full":     {[]*corev1.Pod{full, full}, "can't be scheduled on node node1: Insufficient cpu"},
		"a Secret": {[]*corev1.Pod{status("CreateContainerConfigError", `secret "db" not found`)}, `secret "db" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			w := &watcher{session: session(t), pod: Pod{Node: "node1"}, begun: time.Now()}
			for _, pod := range test.seen {
				if ended, err := w.look(t.Context(), pod); ended || err != nil {
					t.Fatalf("at once: %t, %v", ended, err)
				}
			}
			for reason := range w.since {
				w.since[reason] = time.Now().Add(-time.Minute)
			}
			_, err := w.look(t.Context(), test.seen[len(test.seen)-1])
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A proxy that a service mesh adds keeps a pod from ending.
func TestProbesAreOutsideServiceMeshes(t *testing.T) {
	pod := build(t, Pod{Namespace: "nap", Purpose: "test", Labels: map[string]string{"app": "nap-cp"}})
	if pod.Labels["sidecar.istio.io/inject"] != "false" || pod.Annotations["sidecar.istio.io/inject"] != "false" ||
		pod.Annotations["linkerd.io/inject"] != "disabled" || pod.Labels["app"] != "nap-cp" {
		t.Errorf("labels %v, annotations %v", pod.Labels, pod.Annotations)
	}
}
