package chart_test

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Services read their Secrets when they start. Each of those that prepare looks after is known to it, so that a change
// restarts every reader: no service may keep an old password because it is not listed.
func TestWhatReadsASecretIsRestarted(t *testing.T) {
	for name, set := range map[string][]string{"all": nil, "a TURN server elsewhere": {
		"browser.coturn.enabled=false", "global.secrets.browser.existingSecret=turn"}} {
		t.Run(name, func(t *testing.T) {
			rendered := renderAll(t, set...)
			spec := prepareSpec(t, rendered.Objects)
			known := map[string]bool{}
			for _, s := range spec.Secrets.Secrets {
				known[s.Name] = true
			}
			var readers []string
			for _, p := range pods(t, ours(rendered.Main())) {
				if _, service := typed(t, p.from).(*appsv1.Deployment); service && readsOneOf(p.spec(), known) {
					readers = append(readers, p.from.GetName())
				}
			}
			if len(readers) < 5 {
				t.Fatalf("only %v read Secrets", readers)
			}
			for _, reader := range readers {
				if !slices.Contains(spec.Restart, reader) {
					t.Errorf("Deployment %s reads a Secret, and prepare does not restart it: it knows %v", reader, spec.Restart)
				}
			}
		})
	}
}

func readsOneOf(pod corev1.PodSpec, known map[string]bool) bool {
	for _, c := range pod.Containers {
		for _, env := range c.Env {
			if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil && known[from.SecretKeyRef.Name] {
				return true
			}
		}
	}
	return slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
		return v.Secret != nil &&
			known[v.Secret.SecretName]
	})
}
