package probe

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	release = `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}`
	others  = `{apiVersion: v1, kind: Namespace, metadata: {name: default}}`
	login   = `{apiVersion: v1, kind: Secret, type: kubernetes.io/dockerconfigjson, metadata: {name: login, namespace: nap}, data: {.dockerconfigjson: e30=}}`
)

// Probes run where the platform would; where that does not exist yet, in a namespace of their own that admits them and
// has the pull secrets. In the end there is nothing of all that.
func TestNamespaces(t *testing.T) {
	api := kubetest.New(t, release, login)
	s := New(Config{Client: api.Client(), Image: "example.com/nap-hooks:1", PullSecrets: []string{"login", "missing"}, Namespace: "nap"})
	here, err := s.Namespace(t.Context(), "nap", Restricted)
	if err != nil || here != "nap" {
		t.Fatalf("%s, %v", here, err)
	}
	temporary, err := s.Namespace(t.Context(), "nap-workspaces", Privileged)
	if err != nil || temporary != "neutree-preflight-"+s.ID()+"-privileged" {
		t.Fatalf("%s, %v", temporary, err)
	}
	if again, err := s.Namespace(t.Context(), "nap-workspaces", Privileged); err != nil || again != temporary {
		t.Errorf("%s, %v", again, err)
	}
	namespace, err := kube.Get[corev1.Namespace](t.Context(), s.Client(), kube.Namespaces, "", temporary)
	if err != nil || namespace.Labels["pod-security.kubernetes.io/enforce"] != "privileged" || namespace.Labels[RunLabel] != s.ID() {
		t.Errorf("%+v, %v", namespace, err)
	}
	copied, err := kube.Get[corev1.Secret](t.Context(), s.Client(), kube.Secrets, temporary, "login")
	if err != nil || copied.Type != corev1.SecretTypeDockerConfigJson || len(copied.OwnerReferences) != 1 {
		t.Errorf("%+v, %v", copied, err)
	}
	if meta := s.meta("nap", "x"); len(meta.OwnerReferences) != 1 || meta.OwnerReferences[0].Kind != "ConfigMap" {
		t.Errorf("%+v", meta)
	}
	if err := s.Close(10 * time.Second); err != nil {
		t.Error(err)
	}
	if _, err := kube.Get[corev1.Namespace](t.Context(), s.Client(), kube.Namespaces, "", temporary); err == nil {
		t.Error("the temporary namespace is still there")
	}
	if _, err := kube.Get[corev1.ConfigMap](t.Context(), s.Client(), kube.ConfigMaps, "nap", "neutree-preflight-"+s.ID()); err == nil {
		t.Error("the owner is still there")
	}
	if _, err := s.Namespace(t.Context(), "nap", Restricted); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a closed session makes things: %v", err)
	}
}

// What sessions left that could not remove it goes by a cleanup, and nothing else does.
func TestCleanup(t *testing.T) {
	api := kubetest.New(t, release, others)
	for range 2 {
		s := New(Config{Client: api.Client(), Image: "example.com/nap-hooks:1", Namespace: "nap"})
		for _, namespace := range []string{"nap", "nap-workspaces"} {
			if _, err := s.Namespace(t.Context(), namespace, Privileged); err != nil {
				t.Fatal(err)
			}
		}
	}
	client := api.Client()
	removed, err := Cleanup(t.Context(), client, "nap")
	if err != nil || len(removed) != 4 {
		t.Errorf("removed %v, %v", removed, err)
	}
	list, err := client.ListMetadata(t.Context(), kube.Namespaces, "", metav1.ListOptions{})
	if err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}
