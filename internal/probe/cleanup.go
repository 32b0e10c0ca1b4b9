package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Cleanup removes what sessions left that could not, and tells what that was. Where the whole cluster
// may not be looked through it looks through the named namespaces.
func Cleanup(ctx context.Context, client *kube.Client, namespaces ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
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

// removeOwner removes what a run made in a namespace, the ConfigMap last that owns the rest.
func removeOwner(ctx context.Context, client *kube.Client, namespace, name string) error {
	stays := empty(ctx, client, namespace, strings.TrimPrefix(name, ownerPrefix))
	return errors.Join(stays, remove(ctx, client, kube.ConfigMaps, namespace, name))
}

// removeNamespace empties a namespace and deletes it. Its controller takes five seconds before it does anything, for
// which nobody has to wait: then nothing is left in it.
func removeNamespace(ctx context.Context, client *kube.Client, name, run string) error {
	stays := empty(ctx, client, name, run)
	err := client.Resource(kube.Namespaces, "").Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return errors.Join(stays, fmt.Errorf("delete namespace %s: %w", name, err))
	}
	return stays
}

// made are the kinds that a session makes, in the order in which they go.
var made = []schema.GroupVersionResource{
	kube.Pods, kube.Services, kube.Claims, kube.NetworkPolicies, kube.Secrets, kube.ServiceAccounts, kube.ConfigMaps,
}

// ending is how long pods may take to end by themselves: they have a second to end in.
const ending = 1500 * time.Millisecond

// empty removes all that a run made in a namespace and waits until it is gone, the claims' volumes included. What may
// not be listed is left to the collector of garbage.
func empty(ctx context.Context, client *kube.Client, namespace, run string) error {
	ours := metav1.ListOptions{LabelSelector: RunLabel + "=" + run}
	// A class that keeps its volumes must be told before their claims go.
	if _, err := volumes(ctx, client, namespace); err != nil {
		return err
	}
	forced := time.Now().Add(ending)
	for _, gvr := range made {
		if _, err := deleteAll(ctx, client, gvr, namespace, ours, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	for _, gvr := range made {
		err := wait(ctx, fmt.Sprintf("%s of probes in namespace %s", gvr.Resource, namespace), func() (bool, error) {
			how := metav1.DeleteOptions{}
			if gvr == kube.Pods && time.Now().After(forced) {
				// Their processes were told to end, and killed: what is late is the node's word that they are gone.
				how.GracePeriodSeconds = ptr.To[int64](0)
			}
			left, err := deleteAll(ctx, client, gvr, namespace, ours, how)
			return left == 0, err
		})
		if err != nil {
			return err
		}
	}
	left, err := volumes(ctx, client, namespace)
	if err != nil {
		return err
	}
	var stay []error
	for _, name := range left {
		var unseen *Unseen
		if err := goneVolume(ctx, client, name); !errors.As(err, &unseen) {
			stay = append(stay, err)
		}
	}
	return errors.Join(stay...)
}

// volumes are those made for claims of probes in a namespace, which are told to go with them.
func volumes(ctx context.Context, client *kube.Client, namespace string) ([]string, error) {
	var ours []string
	err := kube.Each(ctx, client, kube.Volumes, "", metav1.ListOptions{}, func(volume *kube.Volume) {
		claim := volume.Spec.ClaimRef
		if claim.Namespace == namespace && strings.HasPrefix(claim.Name, ownerPrefix) {
			ours = append(ours, volume.Metadata.Name)
		}
	})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the volumes: %w", err)
	}
	var names []string
	for _, name := range ours {
		byHand, err := letGo(ctx, client, name)
		if err != nil {
			return nil, err
		}
		if !byHand {
			names = append(names, name)
		}
	}
	return names, nil
}

// deleteAll deletes all objects of a kind that are ours, and tells how many there were. Those that are going already
// are only told again where there is more to say.
func deleteAll(ctx context.Context, client *kube.Client, gvr schema.GroupVersionResource, namespace string, ours metav1.ListOptions, how metav1.DeleteOptions) (int, error) {
	list, err := client.ListMetadata(ctx, gvr, namespace, ours)
	if apierrors.IsForbidden(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("list the probes' %s in namespace %s: %w", gvr.Resource, namespace, err)
	}
	errs := make([]error, len(list))
	var deleting sync.WaitGroup
	for i, object := range list {
		if object.DeletionTimestamp != nil && how.GracePeriodSeconds == nil {
			continue
		}
		deleting.Go(func() {
			err := client.Resource(gvr, namespace).Delete(ctx, object.Name, how)
			if err != nil && !apierrors.IsNotFound(err) {
				errs[i] = fmt.Errorf("delete %s %s: %w", gvr.Resource, object.Name, err)
			}
		})
	}
	deleting.Wait()
	return len(list), errors.Join(errs...)
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
