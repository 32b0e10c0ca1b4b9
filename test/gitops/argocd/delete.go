package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/hook"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/resource"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/syncwaves"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// deletion is the annotation's values of hooks that run when an Application is deleted, which the engine does not know.
type deletion struct{ argo, helm string }

var (
	preDelete  = deletion{argo: "PreDelete", helm: "pre-delete"}
	postDelete = deletion{argo: "PostDelete", helm: "post-delete"}
)

func isHookOf(object *unstructured.Unstructured, of deletion) bool {
	return hasOption(object, common.AnnotationKeyHook, of.argo) || hasOption(object, "helm.sh/hook", of.helm)
}

func hasOption(object *unstructured.Unstructured, annotation, option string) bool {
	return resource.HasAnnotationOption(object, annotation, option)
}

// Delete deletes the Application and cascades: hooks before, the objects from the last wave to the first, hooks after.
// An error leaves the rest, as an Application that cannot be deleted.
func (a *Application) Delete(ctx context.Context) error {
	began := time.Now()
	err := a.delete(ctx)
	phase, message := common.OperationSucceeded, ""
	if err != nil {
		phase, message = common.OperationFailed, err.Error()
	}
	a.reporter.report(Event{
		Event: "operation", Phase: string(phase), Message: message, Seconds: time.Since(began).Seconds(),
	})
	return err
}

func (a *Application) delete(ctx context.Context) error {
	if err := a.runHooks(ctx, preDelete); err != nil {
		return err
	}
	if err := a.cascade(ctx); err != nil {
		return err
	}
	if err := a.runHooks(ctx, postDelete); err != nil {
		return err
	}
	for _, of := range []deletion{preDelete, postDelete} {
		if err := a.cleanUp(ctx, of); err != nil {
			return err
		}
	}
	return nil
}

// runHooks creates all hooks of a kind and waits until they are healthy. ArgoCD heeds no weights here.
func (a *Application) runHooks(ctx context.Context, of deletion) error {
	var hooks []*unstructured.Unstructured
	for _, target := range a.targets {
		if isHookOf(target, of) {
			hooks = append(hooks, target)
		}
	}
	for _, object := range hooks {
		_, err := a.kubectl.CreateResource(ctx, a.config, object.GroupVersionKind(), object.GetName(), object.GetNamespace(),
			object, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create the %s hook %s: %w", of.argo, name(kube.GetResourceKey(object)), err)
		}
	}
	said := map[string]string{}
	return a.until(ctx, "the "+of.argo+" hooks", func() (bool, error) {
		done := true
		for _, object := range hooks {
			key := kube.GetResourceKey(object)
			live, err := a.kubectl.GetResource(ctx, a.config, object.GroupVersionKind(), object.GetName(), object.GetNamespace())
			if err != nil {
				return false, fmt.Errorf("read the %s hook %s: %w", of.argo, name(key), err)
			}
			state, err := health.GetResourceHealth(live, nil)
			if err != nil {
				return false, err
			}
			if state == nil {
				continue
			}
			if said[key.String()] != string(state.Status) {
				said[key.String()] = string(state.Status)
				a.reporter.report(Event{
					Event: "result", Object: name(key), Phase: of.argo, Status: string(state.Status), Message: state.Message,
				})
			}
			switch state.Status {
			case health.HealthStatusDegraded:
				// ArgoCD deletes it, and tries again later.
				if err := a.remove(ctx, live, metav1.DeletePropagationBackground); err != nil {
					return false, err
				}
				return false, fmt.Errorf("the %s hook %s failed: %s", of.argo, name(key), state.Message)
			case health.HealthStatusProgressing:
				done = false
			}
		}
		return done, nil
	})
}

// cascade deletes what is tracked, wave by wave.
func (a *Application) cascade(ctx context.Context) error {
	kept := map[kube.ResourceKey]bool{}
	return a.until(ctx, "the objects to be deleted", func() (bool, error) {
		live, err := a.live(nil)
		if err != nil {
			return false, err
		}
		var objects []*unstructured.Unstructured
		for key, object := range live {
			switch {
			case !deletable(object):
				if !kept[key] {
					kept[key] = true
					a.reporter.report(Event{Event: "kept", Object: name(key)})
				}
			case object.GetDeletionTimestamp() != nil:
				return false, nil
			default:
				objects = append(objects, object)
			}
		}
		if len(objects) == 0 {
			return true, nil
		}
		last := slices.MaxFunc(objects, func(x, y *unstructured.Unstructured) int {
			return syncwaves.Wave(x) - syncwaves.Wave(y)
		})
		for _, object := range objects {
			if syncwaves.Wave(object) != syncwaves.Wave(last) {
				continue
			}
			a.reporter.report(Event{Event: "deleted", Object: name(kube.GetResourceKey(object))})
			if err := a.remove(ctx, object, metav1.DeletePropagationForeground); err != nil {
				return false, err
			}
		}
		return false, nil
	})
}

// deletable says what a deletion deletes.
func deletable(object *unstructured.Unstructured) bool {
	option := resource.GetAnnotationOptionValue(object, common.AnnotationSyncOptions, common.SyncOptionDelete)
	return !kube.IsCRD(object) && (option == nil || *option != common.SyncValueFalse) &&
		!hasOption(object, "helm.sh/resource-policy", "keep")
}

// cleanUp deletes the hooks whose policy says so. They succeeded, or it would not have come to this.
func (a *Application) cleanUp(ctx context.Context, of deletion) error {
	live, err := a.live(nil)
	if err != nil {
		return err
	}
	for _, object := range live {
		if !isHookOf(object, of) || !slices.Contains(hook.DeletePolicies(object), common.HookDeletePolicyHookSucceeded) {
			continue
		}
		if err := a.remove(ctx, object, metav1.DeletePropagationBackground); err != nil {
			return err
		}
	}
	return nil
}

func (a *Application) remove(
	ctx context.Context, object *unstructured.Unstructured, policy metav1.DeletionPropagation,
) error {
	err := a.kubectl.DeleteResource(ctx, a.config, object.GroupVersionKind(), object.GetName(), object.GetNamespace(),
		metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil && !apierrors.IsNotFound(err) && !strings.Contains(err.Error(), "not found") {
		return fmt.Errorf("delete %s: %w", name(kube.GetResourceKey(object)), err)
	}
	return nil
}

// until calls done until it says so, whenever the cluster changes, and each second.
func (a *Application) until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		is, err := done()
		if err != nil || is {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-a.updated:
		case <-time.After(time.Second):
		}
	}
}
