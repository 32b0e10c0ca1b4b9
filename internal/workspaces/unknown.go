package workspaces

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
)

const (
	// IDLabel holds the id of the workspace that an object belongs to.
	IDLabel = "workspace-id"
	// UnknownAnnotation keeps how many replicas a stopped workspace had that the database does not know. One that has it
	// instead of ReplicasAnnotation is not started again.
	UnknownAnnotation = "neutree.ai/unknown-workspace-replicas"

	// atOnce bounds how many ids the database is asked for at a time.
	atOnce = 500
)

// IDs are the ids of all workspaces that have a Deployment, a StatefulSet or a PVC in the namespace, sorted.
func IDs(ctx context.Context, client *kube.Client, namespace string) ([]string, error) {
	ids := map[string]bool{}
	for _, kind := range []schema.GroupVersionResource{kube.Deployments, kube.StatefulSets, kube.Claims} {
		err := eachMetadata(ctx, client, kind, namespace, func(one *metav1.PartialObjectMetadata) {
			if id := one.Labels[IDLabel]; id != "" {
				ids[id] = true
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

// Hold keeps Resume from starting workspaces that the database does not know, as after a restore of a backup that is
// older than they are, and returns their ids. unknown picks those out of ids. Nothing that runs is stopped.
func Hold(ctx context.Context, client *kube.Client, namespace string,
	unknown func(ctx context.Context, ids []string) ([]string, error)) ([]string, error) {
	var held []string
	err := patchMany(ctx, client, namespace, func(add func(patch)) []error {
		for _, kind := range []schema.GroupVersionResource{kube.Deployments, kube.StatefulSets} {
			type workload struct{ name, replicas string }
			stopped := map[string]workload{}
			err := eachMetadata(ctx, client, kind, namespace, func(one *metav1.PartialObjectMetadata) {
				id, replicas := one.Labels[IDLabel], one.Annotations[ReplicasAnnotation]
				if id != "" && replicas != "" {
					stopped[id] = workload{one.Name, replicas}
				}
			})
			if err != nil {
				return []error{err}
			}
			for ids := range slices.Chunk(slices.Sorted(maps.Keys(stopped)), atOnce) {
				ids, err := unknown(ctx, ids)
				if err != nil {
					return []error{err}
				}
				for _, id := range ids {
					add(patch{kind: kind, name: stopped[id].name, done: func() { held = append(held, id) },
						body: func() map[string]any { return markUnknown(stopped[id].replicas) }})
				}
			}
		}
		return nil
	})
	slices.Sort(held)
	return held, err
}

// markUnknown is a merge patch that replaces ReplicasAnnotation.
func markUnknown(replicas string) map[string]any {
	return map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{ReplicasAnnotation: nil, UnknownAnnotation: replicas}}}
}

// eachMetadata calls do with the metadata of the workspaces' objects of one kind.
func eachMetadata(ctx context.Context, client *kube.Client, kind schema.GroupVersionResource, namespace string,
	do func(*metav1.PartialObjectMetadata)) error {
	err := client.EachMetadata(ctx, kind, namespace, metav1.ListOptions{LabelSelector: Selector}, do)
	if err != nil {
		return fmt.Errorf("list the workspaces' %s in namespace %s: %w", kind.Resource, namespace, err)
	}
	return nil
}

// Leftover says for people which workspaces the database does not know, and what to do with each: nothing uses them any
// more, but their PVCs may hold files that someone wants.
func Leftover(namespace string, ids []string, more int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d workspaces in namespace %s are unknown to the database, since they are newer than the backup; "+
		"they are not started again:\n", len(ids)+more, namespace)
	for _, id := range ids {
		fmt.Fprintf(&b, "  %s\n", platform.WorkspacePrefix+id)
	}
	if more > 0 {
		fmt.Fprintf(&b, "  and %d more, which the next restore or install lists once these are deleted\n", more)
	}
	if len(ids) == 0 {
		return b.String()
	}
	first := platform.WorkspacePrefix + ids[0]
	fmt.Fprintf(&b, `To keep the files of one of them, let its PersistentVolume outlive the PVC before you delete it:
  kubectl patch persistentvolume $(kubectl get persistentvolumeclaim %[1]s-workspace --namespace %[2]s \
    --output jsonpath='{.spec.volumeName}') --patch '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'
To delete them:
  kubectl delete deployments,statefulsets,services,secrets,persistentvolumeclaims --namespace %[2]s \
    --selector '%[3]s,%[4]s in (%[5]s)'`, first, namespace, Selector, IDLabel, strings.Join(ids, ","))
	return b.String()
}
