package nodeport

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// GiveUp deletes a Service of the release that the next revision does not have, so that another of its Services can take
// the node port: Helm updates the one before it deletes the other, and the API server would refuse.
func GiveUp(ctx context.Context, log *slog.Logger, client *kube.Client, namespace, service string) error {
	if service == "" {
		return nil
	}
	services := client.Resource(kube.Services, namespace)
	err := services.Delete(ctx, service, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return kube.Refused(err, "delete Service %s/%s, which has the node port that another Service gets", namespace, service)
	}
	log.Info("the node port is free for another Service of the release", "deleted", namespace+"/"+service)
	return hook.Poll(ctx, log, "Service "+service+" to be gone", func(ctx context.Context) (bool, string, error) {
		_, err := kube.Get[corev1.Service](ctx, client, kube.Services, namespace, service)
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "it is still there", nil
	})
}

// Tie has a Service and a ConfigMap end together: when one is deleted, so is the other. A rollback to a revision of
// version 0.1.0 runs no hook of this version, but before its own hook Helm deletes the ConfigMap of that name. With it
// goes the Service, and its node port is free when Helm gives it back to the Service that had it.
//
// The ConfigMap gets the labels that everything has which hooks create.
func Tie(
	ctx context.Context, client *kube.Client, namespace, service, configMap string, labels map[string]string,
) error {
	live, err := kube.Get[corev1.Service](ctx, client, kube.Services, namespace, service)
	if err != nil {
		return fmt.Errorf("read Service %s/%s: %w", namespace, service, err)
	}
	anchor := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name: configMap, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service, UID: live.UID}},
		},
		Data: map[string]string{
			"README": "A rollback to version 0.1.0 deletes this, and Kubernetes then deletes Service " + service + ", whose node port " +
				"that version gives to another Service.\n",
		},
	}
	applied, err := client.Apply(ctx, kube.ConfigMaps, namespace, anchor, false)
	if err != nil {
		return kube.Refused(err, "apply ConfigMap %s/%s", namespace, configMap)
	}
	tied := map[string]any{"metadata": map[string]any{"ownerReferences": []any{
		map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": configMap, "uid": applied.GetUID()},
	}}}
	if err := client.Merge(ctx, kube.Services, namespace, service, tied); err != nil {
		return kube.Refused(err, "make ConfigMap %s the owner of Service %s/%s", configMap, namespace, service)
	}
	return nil
}
