package onnodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func node(name, ready, more string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {pool: %s}}, %s status: {conditions: [{type: Ready, status: %q}]}}`, name, name, more, ready)
}

// All nodes that a pod may run on are looked at, and no others; a sample is spread over them.
func TestEligible(t *testing.T) {
	api := kubetest.New(t, node("a", "True", ""), node("away", "False", ""), node("b", "True", ""), node("cordoned", "True", "spec: {unschedulable: true},"),
		node("tainted", "True", "spec: {taints: [{key: k, value: v, effect: NoSchedule}]},"), node("d", "True", ""), node("e", "True", ""))
	tolerates := &corev1.PodSpec{Tolerations: []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}}
	for name, c := range map[string]struct {
		spec  *corev1.PodSpec
		limit int
		want  []string
	}{
		"any":          {&corev1.PodSpec{}, 0, []string{"a", "b", "d", "e"}},
		"more":         {&corev1.PodSpec{}, 9, []string{"a", "b", "d", "e"}},
		"a sample":     {&corev1.PodSpec{}, 2, []string{"a", "d"}},
		"a toleration": {tolerates, 0, []string{"a", "b", "d", "e", "tainted"}},
		"a selector":   {Workspace(&requirement.Set{Workspace: requirement.Workspace{NodeSelector: map[string]string{"pool": "b"}}}), 0, []string{"b"}},
		"none":         {&corev1.PodSpec{NodeSelector: map[string]string{"pool": "nowhere"}}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := checktest.Subject(t, api, &requirement.Set{})
			s.Options.Nodes = c.limit
			got, err := Eligible(t.Context(), s, c.spec)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestService(t *testing.T) {
	set := &requirement.Set{Pods: []requirement.Pod{{Owner: "Deployment nap-cg"}, {Owner: "Deployment nap-cp"}}}
	set.Pods[1].Spec.NodeName = "here"
	if got := Service(set, "Deployment nap-cp"); got.NodeName != "here" {
		t.Errorf("%+v", got)
	}
	if got := Service(set, "Deployment nap-skills"); got == nil || got.NodeName != "" {
		t.Errorf("a workload that is not there: %+v", got)
	}
}

// Each item is worked on whatever becomes of the others, and the findings come in the order of the items.
func TestEach(t *testing.T) {
	broken := errors.New("broken")
	findings, err := Each(t.Context(), []int{1, 2, 3}, func(_ context.Context, n int) ([]preflight.Finding, error) {
		if n == 2 {
			return []preflight.Finding{{Found: "half"}}, broken
		}
		return []preflight.Finding{{Found: fmt.Sprint(n)}}, nil
	})
	var causes []string
	for _, f := range findings {
		causes = append(causes, f.Found)
	}
	if !errors.Is(err, broken) || !slices.Equal(causes, []string{"1", "half", "3"}) {
		t.Errorf("%v, %v", causes, err)
	}
}

// Only what a node itself keeps from a proof is a finding. All else is an error: a check that did not work must not pass.
func TestNotProved(t *testing.T) {
	for reason, want := range map[poddiag.Kind]string{
		poddiag.Unschedulable: "the node takes no probe pod, so nothing is proved there: no room",
		poddiag.Rejected:      "the node takes no probe pod, so nothing is proved there: no room",
		poddiag.Evicted:       "the probe pod was removed before it could tell: no room. Preemption",
		poddiag.Gone:          "the probe pod was removed before it could tell",
		poddiag.Admission:     "", poddiag.Mount: "", poddiag.Image: "", poddiag.Start: "", poddiag.TooLong: "", poddiag.Broken: "",
	} {
		findings, err := NotProved(fmt.Errorf("run: %w", &poddiag.Trouble{Kind: reason, Node: "n", Message: "no room. Preemption"}))
		if want == "" {
			if err == nil || len(findings) > 0 {
				t.Errorf("%s: %v, %v, want an error", reason, findings, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", reason, err)
		}
		checktest.Want(t, findings, "warning: "+want)
	}
	if _, err := NotProved(context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("another error became %v", err)
	}
}
