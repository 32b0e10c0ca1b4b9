package bootstrap

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// workspaces gives the namespace of the workspaces what their pods need. They run as its default
// ServiceAccount, whose token an agent must not find.
func (b *Bootstrap) workspaces(ctx context.Context) error {
	namespace := b.Spec.Workspaces.Namespace
	if namespace == "" {
		return nil
	}
	if err := b.waitForServiceAccount(ctx, namespace); err != nil {
		return err
	}
	no := false
	_, err := b.Client.Apply(ctx, kube.ServiceAccounts, namespace, &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   metav1.ObjectMeta{Name: "default"},
		AutomountServiceAccountToken: &no,
	}, false)
	if err != nil {
		return kube.Refused(err, "take the token from ServiceAccount %s/default", namespace)
	}
	if namespace == b.Spec.Namespace {
		return nil
	}
	for _, name := range b.Spec.Workspaces.PullSecrets {
		if err := b.copyPullSecret(ctx, name, namespace); err != nil {
			return err
		}
	}
	return nil
}

// waitForServiceAccount waits for what a controller of Kubernetes puts into each new namespace.
func (b *Bootstrap) waitForServiceAccount(ctx context.Context, namespace string) error {
	return hook.Poll(ctx, b.Log, "ServiceAccount "+namespace+"/default", func(ctx context.Context) (bool, string, error) {
		_, err := b.Client.Resource(kube.ServiceAccounts, namespace).Get(ctx, "default", metav1.GetOptions{})
		switch denied, is := kube.Denied(err); {
		case err == nil:
			return true, "", nil
		case is:
			return false, "", hook.Refuse(denied)
		case apierrors.IsNotFound(err):
			return false, "it does not exist yet; is there a namespace " + namespace + "?", nil
		}
		return false, kube.Brief(err), nil
	})
}

// copyPullSecret lets the workspaces' pods pull images with the credentials of the release. It
// leaves a Secret alone that somebody else put there under the same name.
func (b *Bootstrap) copyPullSecret(ctx context.Context, name, namespace string) error {
	source, err := kube.Get[corev1.Secret](ctx, b.Client, kube.Secrets, b.Spec.Namespace, name)
	if apierrors.IsNotFound(err) {
		return hook.Refusef(finding.ImagesSecret, "create it there or remove the name",
			"global.imagePullSecrets names %s, but there is no such Secret in namespace %s", name, b.Spec.Namespace)
	}
	if err != nil {
		return kube.Refused(err, "read pull secret %s/%s", b.Spec.Namespace, name)
	}
	live, err := kube.Get[corev1.Secret](ctx, b.Client, kube.Secrets, namespace, name)
	switch {
	case err == nil && live.Labels[kube.ManagedByLabel] != kube.FieldManager:
		b.Log.Info("pull secret was put there by somebody else and stays", "secret", namespace+"/"+name)
		return nil
	case err != nil && !apierrors.IsNotFound(err):
		return kube.Refused(err, "read pull secret %s/%s", namespace, name)
	}
	_, err = b.Client.Apply(ctx, kube.Secrets, namespace, &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: b.labels()},
		Type:       source.Type,
		Data:       source.Data,
	}, false)
	if err != nil {
		return kube.Refused(err, "copy pull secret %s into namespace %s", name, namespace)
	}
	b.Log.Info("pull secret copied", "secret", name, "namespace", namespace)
	return nil
}
