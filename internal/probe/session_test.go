package probe

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
	for _, namespace := range []string{here, temporary} {
		account, err := accountOf(t, s, namespace)
		if err != nil || account.Labels[RunLabel] != s.ID() || *account.AutomountServiceAccountToken {
			t.Errorf("%+v, %v", account, err)
		}
		pod, err := s.build(Pod{Namespace: namespace, Purpose: "test"})
		if err != nil || pod.Spec.ServiceAccountName != account.Name {
			t.Errorf("a probe pod runs as ServiceAccount %q, want %q (%v): policies refuse default",
				pod.Spec.ServiceAccountName, account.Name, err)
		}
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
	if _, err := accountOf(t, s, "nap"); err == nil {
		t.Error("the ServiceAccount of the probe pods is still there")
	}
	if _, err := kube.Get[corev1.ConfigMap](t.Context(), s.Client(), kube.ConfigMaps, "nap", "neutree-preflight-"+s.ID()); err == nil {
		t.Error("the owner is still there")
	}
	if _, err := s.Namespace(t.Context(), "nap", Restricted); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a closed session makes things: %v", err)
	}
}

func accountOf(t *testing.T, s *Session, namespace string) (*corev1.ServiceAccount, error) {
	t.Helper()
	return kube.Get[corev1.ServiceAccount](t.Context(), s.Client(), kube.ServiceAccounts, namespace, s.ownerName())
}

// Ctrl-C while the namespace, or the ConfigMap in it, is being made: the API server makes it all the same, and it goes.
func TestInterruptedWhileNamespacesAreMade(t *testing.T) {
	for _, namespace := range []string{"nap", "nap-workspaces"} {
		for range 10 {
			api := kubetest.New(t, release)
			ctx, cancel := context.WithCancel(t.Context())
			api.OnChange(func(int) { cancel() })
			s := New(Config{Client: api.Client(), Image: "example.com/nap-hooks:1", Namespace: "nap"})
			_, _ = s.Namespace(ctx, namespace, Restricted)
			if err := s.Close(10 * time.Second); err != nil {
				t.Error(err)
			}
			for _, gvr := range []schema.GroupVersionResource{kube.Namespaces, kube.ConfigMaps} {
				left, err := s.Client().ListMetadata(t.Context(), gvr, "", metav1.ListOptions{LabelSelector: RunLabel})
				if err != nil || len(left) > 0 {
					t.Fatalf("left behind: %v, %v", left, err)
				}
			}
		}
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

// Volumes go with their claims, also those of a class that keeps them. What somebody made by hand stays as it is.
func TestVolumesGo(t *testing.T) {
	volume := func(name, annotations string) string {
		return `{apiVersion: v1, kind: PersistentVolume, metadata: {name: ` + name + `, annotations: {` + annotations + `}}, spec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: nap, name: neutree-preflight-` + name + `}}}`
	}
	api := kubetest.New(t, release, volume("provisioned", "pv.kubernetes.io/provisioned-by: example.com/files"), volume("by-hand", ""))
	s := New(Config{Client: api.Client(), Image: "example.com/nap-hooks:1", Namespace: "nap"})
	if _, err := s.Namespace(t.Context(), "nap", Restricted); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"provisioned", "by-hand"} {
		api.Put(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: neutree-preflight-` + name + `, namespace: nap, labels: {` + RunLabel + `: ` + s.ID() + `}}, spec: {volumeName: ` + name + `}}`)
	}
	api.Put(`{apiVersion: v1, kind: Pod, metadata: {name: probe, namespace: nap, labels: {` + RunLabel + `: ` + s.ID() + `}}}`)
	api.Put(`{apiVersion: v1, kind: Pod, metadata: {name: theirs, namespace: nap, labels: {` + RunLabel + `: another}}}`)
	// Nobody plays the provisioner here.
	if err := s.Close(time.Second); err == nil || !strings.Contains(err.Error(), "volume provisioned stays: it is not deleted in time") {
		t.Errorf("a volume that stays: %v", err)
	}
	for name, want := range map[string]string{"provisioned": "Delete", "by-hand": "Retain"} {
		got, _, _ := unstructured.NestedString(api.Object("/api/v1/persistentvolumes/"+name).Object, "spec", "persistentVolumeReclaimPolicy")
		if got != want {
			t.Errorf("volume %s: reclaim policy %q, want %q", name, got, want)
		}
	}
	for path, want := range map[string]bool{"pods/probe": false, "persistentvolumeclaims/neutree-preflight-provisioned": false, "persistentvolumeclaims/neutree-preflight-by-hand": false, "pods/theirs": true} {
		if there := api.Object("/api/v1/namespaces/nap/"+path) != nil; there != want {
			t.Errorf("%s is there: %v, want %v", path, there, want)
		}
	}
}

// A person who may not create ServiceAccounts gets probes all the same.
func TestProbesWithoutTheRightToCreateAccounts(t *testing.T) {
	api := kubetest.New(t, release)
	api.Refuse(-1, "POST", "/api/v1/namespaces/nap/serviceaccounts", kubetest.Status(403, metav1.StatusReasonForbidden,
		`serviceaccounts is forbidden: User "ann" cannot create resource "serviceaccounts" in the namespace "nap"`))
	s := New(Config{Client: api.Client(), Image: "example.com/nap-hooks:1", Namespace: "nap"})
	if _, err := s.Namespace(t.Context(), "nap", Restricted); err != nil {
		t.Fatal(err)
	}
	if pod, err := s.build(Pod{Namespace: "nap", Purpose: "test"}); err != nil || pod.Spec.ServiceAccountName != "" {
		t.Errorf("ServiceAccount %q, %v", pod.Spec.ServiceAccountName, err)
	}
	if err := s.Close(10 * time.Second); err != nil {
		t.Error(err)
	}
}
