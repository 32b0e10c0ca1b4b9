// Package workspaces stops the workspaces of a platform that is being uninstalled and starts them again
// when it is installed anew. The platform's own record of what should run is left alone, so both work
// while its services do not.
package workspaces

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
)

const (
	// Selector finds the objects of all workspaces of a namespace: the platform's code fixes it.
	Selector = "app=tos"
	// ReplicasAnnotation keeps how many replicas a stopped workspace had.
	ReplicasAnnotation = "neutree.ai/replicas"
)

// Stop scales every running workspace of the namespace to zero, keeping the number of its replicas in an
// annotation, and returns how many it stopped. One that cannot be stopped does not keep it from the others.
func Stop(ctx context.Context, client *kube.Client, namespace string) (int, error) {
	return each(ctx, client, namespace, func(workspace *unstructured.Unstructured) (patch map[string]any, counts bool) {
		// The API server fills in the replicas of every Deployment and StatefulSet.
		replicas, _, _ := unstructured.NestedInt64(workspace.Object, "spec", "replicas")
		if replicas == 0 {
			return nil, false
		}
		return scale(0, strconv.FormatInt(replicas, 10)), true
	})
}

// Resume scales every workspace that Stop stopped to what it was, and returns how many it started. One
// that somebody has started meanwhile stays as it is, and stays stopped when it is stopped again.
func Resume(ctx context.Context, client *kube.Client, namespace string) (int, error) {
	return each(ctx, client, namespace, func(workspace *unstructured.Unstructured) (patch map[string]any, counts bool) {
		replicas, err := strconv.ParseInt(workspace.GetAnnotations()[ReplicasAnnotation], 10, 32)
		running, _, _ := unstructured.NestedInt64(workspace.Object, "spec", "replicas")
		switch {
		case err != nil || replicas < 1:
			return nil, false
		case running > 0:
			return note(nil), false
		}
		return scale(replicas, nil), true
	})
}

// note is a merge patch of the annotation; nil removes it.
func note(annotation any) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": map[string]any{ReplicasAnnotation: annotation}}}
}

func scale(replicas int64, annotation any) map[string]any {
	patch := note(annotation)
	patch["spec"] = map[string]any{"replicas": replicas}
	return patch
}

// each patches every workspace that change returns a patch for, and returns how many of those count.
func each(ctx context.Context, client *kube.Client, namespace string, change func(*unstructured.Unstructured) (map[string]any, bool)) (int, error) {
	changed := 0
	var failed []error
	for _, kind := range []schema.GroupVersionResource{kube.Deployments, kube.StatefulSets} {
		list, err := client.Resource(kind, namespace).List(ctx, metav1.ListOptions{LabelSelector: Selector})
		if err != nil {
			failed = append(failed, fmt.Errorf("list the workspaces' %s in namespace %s: %w", kind.Resource, namespace, err))
			continue
		}
		for i := range list.Items {
			patch, counts := change(&list.Items[i])
			if patch == nil {
				continue
			}
			name := list.Items[i].GetName()
			switch err := client.Merge(ctx, kind, namespace, name, patch); {
			case apierrors.IsNotFound(err):
			case err != nil:
				failed = append(failed, fmt.Errorf("workspace %s in namespace %s: %w", name, namespace, err))
			case counts:
				changed++
			}
		}
	}
	return changed, errors.Join(failed...)
}
