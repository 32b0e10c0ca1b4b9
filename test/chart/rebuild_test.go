package chart_test

import (
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

const (
	tokenVariable = "PLUGIN_ADMIN_TOKEN"
	rebuilding    = "global.upgrade.rebuildWorkspaces=true"
)

// The token opens the control plane's calls for administrators, so there is none unless workspaces are to be rebuilt.
func TestWorkspacesAreNotRebuiltUnasked(t *testing.T) {
	objects := ours(renderAll(t).Objects)
	if _, set := variables(t, podOf(t, objects, "Deployment", "nap-cp"),
		podOf(t, objects, "Deployment", "nap-cp").container(t, "control-plane"))[tokenVariable]; set {
		t.Errorf("nap-cp has %s", tokenVariable)
	}
	if _, is := jobs(t, objects)["rebuild"]; is {
		t.Error("a Job rebuilds workspaces")
	}
}

// After the seeds of an upgrade a Job asks the control plane, by the token that prepare makes.
func TestWorkspacesAreRebuiltAfterAnUpgrade(t *testing.T) {
	rendered := render(t, rebuilding, "global.networkPolicies.usersFrom[0].ipBlock.cidr=10.0.0.0/8")
	objects := ours(rendered.Objects)
	job := jobs(t, objects)["rebuild"]
	want := corev1.SecretKeySelector{Key: "token"}
	want.Name = "nap-plugin-admin"
	for _, p := range []pod{job, podOf(t, objects, "Deployment", "nap-cp")} {
		for _, env := range p.spec().Containers[0].Env {
			if env.Name == tokenVariable && (env.ValueFrom == nil || *env.ValueFrom.SecretKeyRef != want) {
				t.Errorf("%s: %s is %+v", p.from, tokenVariable, env)
			}
		}
		if _, set := variables(t, p, p.spec().Containers[0])[tokenVariable]; !set {
			t.Errorf("%s has no %s", p.from, tokenVariable)
		}
	}
	if !slices.ContainsFunc(prepareSpec(t, objects).Secrets.Secrets, func(s hook.Secret) bool {
		return s.Name == want.Name && s.Data[want.Key].Generate != nil
	}) {
		t.Errorf("prepare does not make Secret %s", want.Name)
	}
	if events := job.from.Hook.Events; !slices.Equal(events, []release.HookEvent{release.HookPostUpgrade}) ||
		job.from.Hook.Weight <= jobs(t, objects)["seed"].from.Hook.Weight {
		t.Errorf("%s runs on %v with weight %d", job.from, events, job.from.Hook.Weight)
	}
	rules := find[*rbacv1.Role](t, objects, namespace, "nap-rebuild").Rules
	if len(rules) != 1 || !slices.Equal(rules[0].Verbs, []string{"get"}) ||
		!slices.Equal(rules[0].ResourceNames, []string{"nap-cp", "nap-env-runner-k8s"}) {
		t.Errorf("it may %+v", rules)
	}
	policy := find[*networkingv1.NetworkPolicy](t, objects, namespace, "nap-cp")
	if !slices.ContainsFunc(policy.Spec.Ingress[0].From, func(peer networkingv1.NetworkPolicyPeer) bool {
		return peer.PodSelector != nil && len(peer.PodSelector.MatchExpressions) > 0 &&
			slices.Contains(peer.PodSelector.MatchExpressions[0].Values, "nap-rebuild")
	}) {
		t.Errorf("it does not reach the control plane: %+v", policy.Spec.Ingress[0].From)
	}
}

// After an upgrade to another control plane NOTES say that workspaces must be rebuilt, and how.
func TestNotesSayWhatMustBeRebuilt(t *testing.T) {
	const words = "--set " + rebuilding
	running := func(image string) func(chart.Lookup) map[string]any {
		return func(l chart.Lookup) map[string]any {
			if l.Kind != "Deployment" || l.Name != "nap-cp" {
				return nil
			}
			return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
				"containers": []any{map[string]any{"name": "control-plane", "image": image}}}}}}
		}
	}
	const now = "ghcr.io/neutree-ai/agent-platform/nap-cp:v0.2.0"
	const later = "global.images.controlPlane.tag=v0.3.0"
	for name, tc := range map[string]struct {
		to   target
		says bool
	}{
		"another version":          {target{upgrade: true, answer: running(now), set: []string{later}}, true},
		"the same version":         {target{upgrade: true, answer: running(now)}, false},
		"an install":               {target{answer: running(now), set: []string{later}}, false},
		"workspaces are rebuilt":   {target{upgrade: true, answer: running(now), set: []string{later, rebuilding}}, false},
		"the cluster is not asked": {target{upgrade: true, set: []string{later}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			notes := renderFor(t, tc.to).Notes
			says := strings.Contains(notes, words)
			if says != tc.says || says && !strings.Contains(notes, "the pods that "+now+" started") {
				t.Errorf("NOTES.txt:\n%s", notes)
			}
		})
	}
}
