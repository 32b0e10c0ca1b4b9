// Package workspaces stops the workspaces of a platform that is being uninstalled and starts them again when it is
// installed again. The platform's own record of what should run is left alone, so both work while its services do not.
package workspaces

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
)

const (
	// Selector finds the objects of all workspaces of a namespace: the platform's code fixes it.
	Selector = "app=tos"
	// ReplicasAnnotation keeps how many replicas a stopped workspace had.
	ReplicasAnnotation = "neutree.ai/replicas"
)

// maxNamed is how many of the workspaces that failed an error names.
const maxNamed = 5

// workspace is what is read of a Deployment or StatefulSet: there may be tens of thousands.
type workspace struct {
	Metadata struct {
		Name        string `json:"name"`
		Annotations struct {
			// Replicas is ReplicasAnnotation.
			Replicas string `json:"neutree.ai/replicas"`
		} `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		// Replicas is filled in by the API server.
		Replicas int64 `json:"replicas"`
	} `json:"spec"`
}

// Stop scales every running workspace of the namespace to zero, keeping the number of its replicas in an
// annotation, and returns how many it stopped. One that cannot be stopped does not keep it from the others.
func Stop(ctx context.Context, client *kube.Client, namespace string) (int, error) {
	return each(ctx, client, namespace, func(w *workspace) (patch map[string]any, counts bool) {
		if w.Spec.Replicas == 0 {
			return nil, false
		}
		return scale(0, strconv.FormatInt(w.Spec.Replicas, 10)), true
	})
}

// Resume scales every workspace that Stop stopped to what it was, and returns how many it started. One that was started
// meanwhile stays as it is, and stays stopped when it is stopped again.
func Resume(ctx context.Context, client *kube.Client, namespace string) (int, error) {
	return each(ctx, client, namespace, func(w *workspace) (patch map[string]any, counts bool) {
		replicas, err := strconv.ParseInt(w.Metadata.Annotations.Replicas, 10, 32)
		switch {
		case err != nil || replicas < 1:
			return nil, false
		case w.Spec.Replicas > 0:
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
func each(
	ctx context.Context, client *kube.Client, namespace string, change func(*workspace) (map[string]any, bool),
) (int, error) {
	changed := 0
	err := patchMany(ctx, client, namespace, func(add func(patch)) []error {
		var failed []error
		for _, kind := range []schema.GroupVersionResource{kube.Deployments, kube.StatefulSets} {
			options := metav1.ListOptions{LabelSelector: Selector}
			err := kube.Each(ctx, client, kind, namespace, options, func(w *workspace) {
				// Not the pointer, which would keep the whole page.
				if body, counts := change(w); body != nil {
					w := *w
					// What is sent is made only then: there may be tens of thousands that wait.
					one := patch{kind: kind, name: w.Metadata.Name, body: func() map[string]any {
						body, _ := change(&w)
						return body
					}}
					if counts {
						one.done = func() { changed++ }
					}
					add(one)
				}
			})
			if err != nil {
				failed = append(failed, fmt.Errorf("list the workspaces' %s in namespace %s: %w", kind.Resource, namespace, err))
			}
		}
		return failed
	})
	return changed, err
}

// patch is a change of one workspace.
type patch struct {
	kind schema.GroupVersionResource
	name string
	body func() map[string]any
	// done is called, if it is set, when the workspace is changed; never twice at once.
	done func()
}

// patchMany sends all patches that list adds, many at once. The error names some of those that failed and those that
// list returns. When ctx ends first, it says how many are left.
func patchMany(
	ctx context.Context, client *kube.Client, namespace string, list func(add func(patch)) []error,
) error {
	var mu sync.Mutex
	var failed []error
	all, unknown, failures := 0, 0, 0
	produce := func(add func(patch)) {
		errs := list(func(p patch) {
			all++
			add(p)
		})
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, errs...)
	}
	left := kube.Many(ctx, client, produce, func(client *kube.Client, p patch) {
		err := client.Merge(ctx, p.kind, namespace, p.name, p.body())
		mu.Lock()
		defer mu.Unlock()
		switch {
		case apierrors.IsNotFound(err):
		case err != nil && ctx.Err() != nil:
			unknown++
		case err != nil:
			if failures++; failures <= maxNamed {
				failed = append(failed, fmt.Errorf("workspace %s in namespace %s: %w", p.name, namespace, err))
			}
		case p.done != nil:
			p.done()
		}
	})
	slices.SortFunc(failed, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if failures > maxNamed {
		failed = append(failed, fmt.Errorf("%d more workspaces in namespace %s failed", failures-maxNamed, namespace))
	}
	// Whether a patch arrived that was under way in the end is not known.
	if left += unknown; left > 0 {
		failed = append(failed, fmt.Errorf("%d of %d workspaces in namespace %s are left: %w",
			left, all, namespace, context.Cause(ctx)))
	}
	return errors.Join(failed...)
}
