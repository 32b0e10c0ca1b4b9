//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// An install that cannot work is refused within a minute, by name, before any service is created.
func TestInstallRefused(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(t *testing.T, r *release)
		args    []string
		words   []string
	}{
		{
			name:    "no default StorageClass and none named",
			prepare: withoutDefaultClass,
			words:   []string{"StorageClass", "global.database.cnpg.storage.storageClass"},
		},
		{
			name:  "an RWX class that does not exist",
			args:  []string{"--set", "global.storage.shared.storageClass=no-such-class"},
			words: []string{"no-such-class", "global.storage.shared.storageClass"},
		},
		{
			name:    "a nodePort that is taken",
			prepare: takenNodePort,
			words:   []string{"30080", "global.exposure.nodePorts.web"},
		},
		{
			name:  "a prefix with capitals",
			args:  []string{"--set", "global.namePrefix=Nap"},
			words: []string{"namePrefix", "Nap"},
		},
		{
			name:    "a Secret given by the user that lacks a key",
			prepare: incompleteAdminSecret,
			args:    []string{"--set", "global.admin.existingSecret=my-admin"},
			words:   []string{"my-admin", "password", "global.admin.existingSecret"},
		},
		{
			name:    "a namespace whose Pod Security forbids the platform's pods",
			prepare: restrictedNamespace,
			args:    []string{"--set", "global.workspaces.namespace=nap-refused"},
			words:   []string{"nap-refused", "privileged", "global.workspaces.namespace"},
		},
	}
	env := newEnvironment(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := env.release(env.helm4, "neutree", "nap-refused")
			t.Cleanup(func() { r.purge(t) })
			r.createNamespace(t, nil)
			if c.prepare != nil {
				c.prepare(t, r)
			}
			wantRefused(t, r.upgrade(t.Context(), append(c.args, "--wait")...), time.Minute, c.words...)
			r.wantNothingCreated(t)
		})
	}
}

// A hook image that cannot be pulled ends the install in bounded time, with nothing created.
func TestHookImageNotPullable(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap-refused")
	t.Cleanup(func() { r.purge(t) })
	got := r.upgrade(t.Context(), "--wait", "--set", "global.hooks.image.tag=no-such-tag",
		"--set", "global.hooks.timeouts.start=20", "--set", "global.hooks.timeouts.guard=5", "--set", "global.hooks.timeouts.secrets=5")
	wantRefused(t, got, time.Minute, "nap-prepare")
	r.wantNothingCreated(t)
}

// createNamespace creates the release's namespace, with labels if there are any.
func (r *release) createNamespace(t *testing.T, labels map[string]string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace, Labels: labels}}
	if _, err := r.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantNothingCreated asserts that a refused install left no workload, service or claim behind.
func (r *release) wantNothingCreated(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	deployments, err := r.client.AppsV1().Deployments(r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	services, err := r.client.CoreV1().Services(r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(deployments.Items)+len(services.Items)+len(r.claims(t)) != 0 {
		t.Errorf("left behind: %d Deployments, %d Services, claims %v", len(deployments.Items), len(services.Items), r.claims(t))
	}
}

func withoutDefaultClass(t *testing.T, r *release) {
	const annotation = "storageclass.kubernetes.io/is-default-class"
	t.Helper()
	classes := r.client.StorageV1().StorageClasses()
	list, err := classes.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mark := func(ctx context.Context, name, value string) error {
		patch := []byte(`{"metadata":{"annotations":{"` + annotation + `":"` + value + `"}}}`)
		_, err := classes.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	for _, class := range list.Items {
		if class.Annotations[annotation] != "true" {
			continue
		}
		if err := mark(t.Context(), class.Name, "false"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := mark(context.Background(), class.Name, "true"); err != nil {
				t.Errorf("mark %s as the default class again: %v", class.Name, err)
			}
		})
	}
}

func takenNodePort(t *testing.T, r *release) {
	t.Helper()
	services := r.client.CoreV1().Services(metav1.NamespaceDefault)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "somebody-elses"},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeNodePort,
			Selector: map[string]string{"app": "somebody-elses"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80), NodePort: 30080}},
		},
	}
	if _, err := services.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := services.Delete(context.Background(), service.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete Service %s: %v", service.Name, err)
		}
	})
}

func incompleteAdminSecret(t *testing.T, r *release) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "my-admin"}, StringData: map[string]string{"username": "root"}}
	if _, err := r.client.CoreV1().Secrets(r.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func restrictedNamespace(t *testing.T, r *release) {
	t.Helper()
	patch := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`)
	if _, err := r.client.CoreV1().Namespaces().Patch(t.Context(), r.namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
