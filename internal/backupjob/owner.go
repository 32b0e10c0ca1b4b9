package backupjob

import (
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// A client that scales a Deployment becomes the field manager of its replicas. Helm 4 applies by server-side apply and
// refuses to change a field of another manager ("conflict with nap-hooks"), so after a restore, or an upgrade of
// PostgreSQL's data, no upgrade could change the replicas. So the field is given back to the manager that had it.

// owner is the field manager of a Deployment's replicas, if there is one.
func (r *Restore) owner(ctx context.Context, name string) (restorenote.Owner, bool) {
	deployment, err := r.deployment(ctx, name)
	if err != nil || deployment == nil {
		return restorenote.Owner{}, false
	}
	_, owner := replicasOwner(deployment.ManagedFields)
	return owner, owner.Manager != "" && owner.Manager != kube.FieldManager
}

// owners are the field managers of the replicas of Deployments, by their names; nil where there are none.
func (r *Restore) owners(ctx context.Context, names []string) map[string]restorenote.Owner {
	var owners map[string]restorenote.Owner
	for _, name := range names {
		if owner, is := r.owner(ctx, name); is {
			if owners == nil {
				owners = map[string]restorenote.Owner{}
			}
			owners[name] = owner
		}
	}
	return owners
}

// replicasOwner is the manager of the replicas, and its place in the list.
func replicasOwner(managers []metav1.ManagedFieldsEntry) (int, restorenote.Owner) {
	for i, entry := range managers {
		fields, ok := decodeFields(entry)
		if !ok {
			continue
		}
		if spec, _ := fields["f:spec"].(map[string]any); spec != nil && spec["f:replicas"] != nil {
			return i, ownerOf(entry)
		}
	}
	return -1, restorenote.Owner{}
}

func ownerOf(entry metav1.ManagedFieldsEntry) restorenote.Owner {
	return restorenote.Owner{Manager: entry.Manager, Operation: string(entry.Operation), Subresource: entry.Subresource}
}

func decodeFields(entry metav1.ManagedFieldsEntry) (map[string]any, bool) {
	var fields map[string]any
	return fields, entry.FieldsV1 != nil && json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) == nil
}

// giveBack makes owner the manager of the replicas, which are set back to what they were. An error is only worth
// a warning: the services run.
func (r *Restore) giveBack(ctx context.Context, name string, owner restorenote.Owner) {
	// The controller writes the status of a Deployment that was just scaled.
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		deployment, err := r.deployment(ctx, name)
		if err != nil || deployment == nil {
			return err
		}
		managers, changed := handOver(deployment.ManagedFields, owner)
		if !changed {
			return nil
		}
		return r.Client.Merge(ctx, kube.Deployments, r.Namespace, name, map[string]any{"metadata": map[string]any{
			// Not over what someone else changes meanwhile.
			"resourceVersion": deployment.ResourceVersion,
			"managedFields":   managers,
		}})
	})
	if err != nil {
		r.Log.Warn("the field manager of the replicas could not be set back: should helm upgrade report a conflict with "+
			kube.FieldManager+", run it once with --force-conflicts", "deployment", name, "cause", kube.Brief(err))
	}
}

// handOver moves the replicas from our entries to that of owner. An owner that had set nothing else, as a tool that had
// healed them, has lost its entry with them, and gets a new one.
func handOver(managers []metav1.ManagedFieldsEntry, owner restorenote.Owner) ([]metav1.ManagedFieldsEntry, bool) {
	var moved []metav1.ManagedFieldsEntry
	gave, took := false, false
	for _, entry := range managers {
		fields, ok := decodeFields(entry)
		if !ok {
			return nil, false
		}
		spec, _ := fields["f:spec"].(map[string]any)
		switch {
		case entry.Manager == kube.FieldManager && spec["f:replicas"] != nil:
			gave = true
			if delete(spec, "f:replicas"); len(spec) == 0 {
				delete(fields, "f:spec")
			}
			if len(fields) == 0 {
				continue
			}
		case ownerOf(entry) == owner:
			took = true
			if spec == nil {
				spec = map[string]any{}
				fields["f:spec"] = spec
			}
			spec["f:replicas"] = map[string]any{}
		}
		raw, err := json.Marshal(fields)
		if err != nil {
			return nil, false
		}
		entry.FieldsV1 = metav1.NewFieldsV1(string(raw))
		moved = append(moved, entry)
	}
	if gave && !took {
		moved = append(moved, metav1.ManagedFieldsEntry{
			Manager: owner.Manager, Operation: metav1.ManagedFieldsOperationType(owner.Operation),
			Subresource: owner.Subresource, APIVersion: kube.Deployments.GroupVersion().String(),
			Time: ptr.To(metav1.Now()), FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`),
		})
	}
	return moved, gave
}
