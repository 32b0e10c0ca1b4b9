package backupjob

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// replicas is how many pods each service that uses the databases is meant to have.
func (r *Restore) replicas(ctx context.Context) (map[string]int32, error) {
	replicas := map[string]int32{}
	for _, name := range r.Plan.Writers {
		deployment, err := kube.Get[appsv1.Deployment](ctx, r.Client, kube.Deployments, r.Namespace, name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for Deployment %s in namespace %s: %s", name, r.Namespace, kube.Brief(err))
		}
		replicas[name] = 1
		if deployment.Spec.Replicas != nil {
			replicas[name] = *deployment.Spec.Replicas
		}
	}
	return replicas, nil
}

// stopServices returns when no pod of the services is left.
func (r *Restore) stopServices(ctx context.Context, replicas map[string]int32) error {
	names := slices.Sorted(maps.Keys(replicas))
	r.Log.Info("stopping the services", "deployments", describe(names))
	for _, name := range names {
		if err := r.scale(ctx, name, 0); err != nil {
			return err
		}
	}
	return hook.Poll(ctx, r.Log, "the services to stop", func(ctx context.Context) (bool, string, error) {
		var left []string
		for _, name := range names {
			pods, err := r.Client.ListMetadata(ctx, kube.Pods, r.Namespace, metav1.ListOptions{
				LabelSelector: "app=" + name,
				// A pod that was evicted stays as a record.
				FieldSelector: "status.phase!=Failed,status.phase!=Succeeded",
			})
			if err != nil {
				return false, kube.Brief(err), nil
			}
			for _, pod := range pods {
				left = append(left, pod.Name)
			}
		}
		return len(left) == 0, "there is still " + describe(left), nil
	})
}

func (r *Restore) startServices(ctx context.Context, replicas map[string]int32) error {
	for _, name := range slices.Sorted(maps.Keys(replicas)) {
		if err := r.scale(ctx, name, replicas[name]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Restore) scale(ctx context.Context, name string, replicas int32) error {
	err := r.Client.Merge(ctx, kube.Deployments, r.Namespace, name, map[string]any{"spec": map[string]any{"replicas": replicas}}, "scale")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("scale Deployment %s in namespace %s to %d: %s", name, r.Namespace, replicas, kube.Brief(err))
	}
	return nil
}

// waitReady returns when all services have the pods that they had.
func (r *Restore) waitReady(ctx context.Context, replicas map[string]int32) error {
	return hook.Poll(ctx, r.Log, "the services to be ready", func(ctx context.Context) (bool, string, error) {
		var missing []string
		for _, name := range slices.Sorted(maps.Keys(replicas)) {
			deployment, err := kube.Get[appsv1.Deployment](ctx, r.Client, kube.Deployments, r.Namespace, name)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return false, kube.Brief(err), nil
			}
			if s := deployment.Status; s.ObservedGeneration < deployment.Generation || s.AvailableReplicas < replicas[name] {
				missing = append(missing, fmt.Sprintf("%s has %d of %d", name, s.AvailableReplicas, replicas[name]))
			}
		}
		return len(missing) == 0, describe(missing), nil
	})
}

// stopJob deletes a Job and waits until none of its pods is left.
func (r *Restore) stopJob(ctx context.Context, name string) error {
	foreground := metav1.DeletePropagationForeground
	err := r.Client.Resource(kube.Jobs, r.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete Job %s in namespace %s: %s", name, r.Namespace, kube.Brief(err))
	}
	return hook.Poll(ctx, r.Log, "Job "+name+" to end", func(ctx context.Context) (bool, string, error) {
		_, err := r.Client.Resource(kube.Jobs, r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "its pod is still there", nil
	})
}
