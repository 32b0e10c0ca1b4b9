package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

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
		removing.Go(func() { errs[i] = removeNamespace(ctx, client, namespace.Name, namespace.Labels[RunLabel]) })
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
	if err := empty(ctx, client, namespace, strings.TrimPrefix(name, ownerPrefix)); err != nil {
		return err
	}
	return remove(ctx, client, kube.ConfigMaps, namespace, name)
}

// removeNamespace empties a namespace and deletes it. Its controller takes five seconds before it does anything, for
// which nobody has to wait: then nothing is left in it.
func removeNamespace(ctx context.Context, client *kube.Client, name, run string) error {
	if err := empty(ctx, client, name, run); err != nil {
		return err
	}
	err := client.Resource(kube.Namespaces, "").Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return nil
}

// ending is how long pods may take to end by themselves: they have a second to end in.
const ending = 1500 * time.Millisecond

// empty removes a run's pods and claims from a namespace and waits until they and the claims' volumes are gone. What
// takes no time is left to whoever deletes their owner.
func empty(ctx context.Context, client *kube.Client, namespace, run string) error {
	ours := metav1.ListOptions{LabelSelector: RunLabel + "=" + run}
	claims, err := kube.List[corev1.PersistentVolumeClaim](ctx, client, kube.Claims, namespace, ours)
	if err != nil {
		return fmt.Errorf("list the probes' claims in namespace %s: %w", namespace, err)
	}
	var volumes []string
	for _, claim := range claims {
		byHand, err := letGo(ctx, client, claim.Spec.VolumeName)
		if err != nil {
			return err
		}
		if claim.Spec.VolumeName != "" && !byHand {
			volumes = append(volumes, claim.Spec.VolumeName)
		}
	}
	forced := time.Now().Add(ending)
	for _, gvr := range []schema.GroupVersionResource{kube.Pods, kube.Claims} {
		if err := deleteAll(ctx, client, gvr, namespace, ours, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	for _, gvr := range []schema.GroupVersionResource{kube.Pods, kube.Claims} {
		err := wait(ctx, fmt.Sprintf("%s of probes in namespace %s", gvr.Resource, namespace), func() (bool, error) {
			left, err := client.ListMetadata(ctx, gvr, namespace, ours)
			if err != nil || len(left) == 0 {
				return err == nil, err
			}
			if gvr == kube.Pods && time.Now().After(forced) {
				// Their processes were told to end, and killed: what is late is the node's word that they are gone.
				return false, deleteAll(ctx, client, gvr, namespace, ours, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
			}
			return false, nil
		})
		if err != nil {
			return err
		}
	}
	for _, name := range volumes {
		if err := goneVolume(ctx, client, name); err != nil {
			return err
		}
	}
	return nil
}

func deleteAll(ctx context.Context, client *kube.Client, gvr schema.GroupVersionResource, namespace string, ours metav1.ListOptions, how metav1.DeleteOptions) error {
	list, err := client.ListMetadata(ctx, gvr, namespace, ours)
	if err != nil {
		return fmt.Errorf("list the probes' %s in namespace %s: %w", gvr.Resource, namespace, err)
	}
	errs := make([]error, len(list))
	var deleting sync.WaitGroup
	for i, object := range list {
		deleting.Go(func() {
			err := client.Resource(gvr, namespace).Delete(ctx, object.Name, how)
			if err != nil && !apierrors.IsNotFound(err) {
				errs[i] = fmt.Errorf("delete %s %s: %w", gvr.Resource, object.Name, err)
			}
		})
	}
	deleting.Wait()
	return errors.Join(errs...)
}

// remove deletes an object and waits until it and what belongs to it is gone.
func remove(ctx context.Context, client *kube.Client, gvr schema.GroupVersionResource, namespace, name string) error {
	foreground := metav1.DeletePropagationForeground
	resource := client.Resource(gvr, namespace)
	err := resource.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", gvr.Resource, name, err)
	}
	return wait(ctx, gvr.Resource+" "+name, func() (bool, error) {
		_, err := resource.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// wait polls until what is being deleted is gone.
func wait(ctx context.Context, what string, gone func() (bool, error)) error {
	for {
		done, err := gone()
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: still being deleted: %w", what, ctx.Err())
		case err != nil:
			return fmt.Errorf("%s: look whether it is gone: %w", what, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
