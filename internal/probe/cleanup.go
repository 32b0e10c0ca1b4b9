package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Cleanup removes what sessions left that could not, and tells what that was. Where the whole cluster
// may not be looked through it looks through the named namespaces.
func Cleanup(ctx context.Context, client *kube.Client, namespaces ...string) ([]string, error) {
	selector := metav1.ListOptions{LabelSelector: RunLabel}
	var removed []string
	temporary := map[string]bool{}
	list, err := client.ListMetadata(ctx, kube.Namespaces, "", selector)
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("look for namespaces of probes: %w", err)
	}
	errs := make([]error, len(list))
	var removing sync.WaitGroup
	for i, namespace := range list {
		temporary[namespace.Name] = true
		removing.Go(func() { errs[i] = removeNamespace(ctx, client, namespace.Name) })
		removed = append(removed, "namespace "+namespace.Name)
	}
	removing.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	owners, err := client.ListMetadata(ctx, kube.ConfigMaps, "", selector)
	if apierrors.IsForbidden(err) {
		owners, err = nil, nil
		for _, namespace := range namespaces {
			some, listErr := client.ListMetadata(ctx, kube.ConfigMaps, namespace, selector)
			if listErr != nil {
				err = listErr
			}
			owners = append(owners, some...)
		}
	}
	if err != nil {
		return removed, fmt.Errorf("look for what probes left: %w", err)
	}
	for _, owner := range owners {
		if temporary[owner.Namespace] {
			continue
		}
		if err := removeOwner(ctx, client, owner.Namespace, owner.Name); err != nil {
			return removed, err
		}
		removed = append(removed, fmt.Sprintf("ConfigMap %s/%s and all that belongs to it", owner.Namespace, owner.Name))
	}
	return removed, nil
}

// removeOwner deletes the ConfigMap, and the collector of garbage what belongs to it.
func removeOwner(ctx context.Context, client *kube.Client, namespace, name string) error {
	return remove(ctx, client, kube.ConfigMaps, namespace, name)
}

func removeNamespace(ctx context.Context, client *kube.Client, name string) error {
	return remove(ctx, client, kube.Namespaces, "", name)
}

// remove deletes an object and waits until it and what belongs to it is gone.
func remove(ctx context.Context, client *kube.Client, gvr schema.GroupVersionResource, namespace, name string) error {
	foreground := metav1.DeletePropagationForeground
	resource := client.Resource(gvr, namespace)
	err := resource.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground})
	for {
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("delete %s %s: %w", gvr.Resource, name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s is still being deleted: %w", gvr.Resource, name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
		_, err = resource.Get(ctx, name, metav1.GetOptions{})
	}
}
