package bootstrap

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/storage"
)

// storageClasses writes the names of the classes that pods of the platform hand on to a ConfigMap.
// Where no class is named, what was chosen once stays, even if the cluster's default changes. A class that was chosen and
// does not exist any more stops no upgrade: PVCs of workspaces that exist do not need it.
func (b *Bootstrap) storageClasses(ctx context.Context) error {
	spec := b.Spec.Storage
	if spec.ConfigMap == "" || len(spec.Classes) == 0 {
		return nil
	}
	live, err := kube.Get[corev1.ConfigMap](ctx, b.Client, kube.ConfigMaps, b.Spec.Namespace, spec.ConfigMap)
	if apierrors.IsNotFound(err) {
		live = &corev1.ConfigMap{}
	} else if err != nil {
		return kube.Refused(err, "read ConfigMap %s/%s", b.Spec.Namespace, spec.ConfigMap)
	}
	classes, err := storage.ListClasses(ctx, b.Client)
	if err != nil {
		return kube.Refused(err, "find the storage classes")
	}
	data := map[string]string{}
	for _, class := range spec.Classes {
		kept := live.Data[class.Key]
		exists := slices.ContainsFunc(classes, func(c storagev1.StorageClass) bool { return c.Name == kept })
		if storage.StaysChosen(kept, class.Name) && (class.Name == "" || !exists) {
			data[class.Key] = kept
			if !exists {
				b.Log.Warn("the StorageClass that an earlier install chose does not exist any more, so PVCs of new workspaces "+
					"stay Pending: create it again, or name another in "+class.Value, "key", class.Key, "class", kept)
			}
			continue
		}
		name, err := b.resolve(classes, "the workspaces' volumes", class.Value, class.Name, class.AccessMode)
		if err != nil {
			return err
		}
		if kept != "" && kept != name {
			b.Log.Warn("another storage class is named for new volumes; those that exist keep theirs", "key", class.Key, "was", kept, "now", name)
		}
		data[class.Key] = name
	}
	_, err = b.Client.Apply(ctx, kube.ConfigMaps, b.Spec.Namespace, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: spec.ConfigMap, Labels: b.labels()},
		Data:       data,
	}, false)
	if err != nil {
		return kube.Refused(err, "apply ConfigMap %s/%s", b.Spec.Namespace, spec.ConfigMap)
	}
	b.Log.Info("storage classes chosen", "configMap", spec.ConfigMap, "classes", data)
	return nil
}

func (b *Bootstrap) resolve(classes []storagev1.StorageClass, purpose, value, name, accessMode string) (string, error) {
	class, problem := storage.Resolve(classes, storage.ClassRequest{
		Purpose: purpose, Value: value, Name: name, AccessMode: corev1.PersistentVolumeAccessMode(accessMode),
	})
	switch {
	case class == nil:
		return "", hook.Refuse(*problem)
	case problem != nil:
		b.Log.Warn(problem.Sentence(), "finding", problem.ID)
	}
	return class.Name, nil
}

// sharedClaim applies the claim that all workspaces mount. It is outside the release, since Helm
// would wait for a volume that only the first workspace makes the cluster provide.
func (b *Bootstrap) sharedClaim(ctx context.Context) error {
	if b.Spec.SharedClaim.Manifest == "" {
		return nil
	}
	desired, err := database.ReadManifest(b.Spec.SharedClaim.Manifest)
	if err != nil {
		return err
	}
	if desired.GetKind() != "PersistentVolumeClaim" {
		return hook.Errorf(hook.Usage, "the manifest of the shared claim holds a %s", desired.GetKind())
	}
	namespace, name := desired.GetNamespace(), desired.GetName()
	if namespace == "" {
		namespace = b.Spec.Workspaces.Namespace
		desired.SetNamespace(namespace)
	}
	live, err := b.claim(ctx, namespace, name)
	switch {
	case apierrors.IsNotFound(err):
		return b.createClaim(ctx, desired)
	case err != nil:
		return kube.Refused(err, "read claim %s/%s", namespace, name)
	}
	kept, err := keepClaim(desired, live, b.Spec.SharedClaim.DefaultSize)
	if err != nil {
		return hook.Refusef(finding.StorageClaims, "", "claim %s/%s: %v", namespace, name, err)
	}
	for _, k := range kept {
		b.Log.Warn(k, "claim", namespace+"/"+name)
	}
	_, err = b.Client.Apply(ctx, kube.Claims, namespace, desired, false)
	if err == nil || kube.MissingPermission(err) != "" || !kube.Permanent(err) {
		return kube.Refused(err, "apply claim %s/%s", namespace, name)
	}
	// The class can't grow volumes, or the claim is not bound yet. What there is works.
	b.Log.Warn("the shared claim stays as it is", "claim", namespace+"/"+name, "cause", kube.Brief(err))
	return nil
}

// claim reads a claim. One that is being deleted is waited for: what is applied to it would go with it.
func (b *Bootstrap) claim(ctx context.Context, namespace, name string) (live *unstructured.Unstructured, err error) {
	err = hook.Poll(ctx, b.Log, "the claim "+namespace+"/"+name+" of before to go", func(ctx context.Context) (bool, string, error) {
		live, err = b.Client.Resource(kube.Claims, namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return live.GetDeletionTimestamp() == nil, "somebody deleted it, and it stays until no pod uses it", nil
	})
	return live, err
}

func (b *Bootstrap) createClaim(ctx context.Context, claim *unstructured.Unstructured) error {
	spec, _, _ := unstructured.NestedMap(claim.Object, "spec")
	name, _ := spec["storageClassName"].(string)
	// A claim for a volume that was made by hand says so by its name or by a class that is empty.
	_, classGiven := spec["storageClassName"]
	_, volumeGiven := spec["volumeName"]
	if !volumeGiven && (!classGiven || name != "") {
		classes, err := storage.ListClasses(ctx, b.Client)
		if err != nil {
			return kube.Refused(err, "find the storage classes")
		}
		name, err = b.resolve(classes, "the volume that all workspaces share", "global.storage.shared.storageClass", name, firstMode(spec))
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(claim.Object, name, "spec", "storageClassName"); err != nil {
			return err
		}
	}
	if _, err := b.Client.Apply(ctx, kube.Claims, claim.GetNamespace(), claim, false); err != nil {
		return kube.Refused(err, "create claim %s/%s", claim.GetNamespace(), claim.GetName())
	}
	b.Log.Info("shared claim made", "claim", claim.GetNamespace()+"/"+claim.GetName(), "class", name)
	return nil
}

func firstMode(spec map[string]any) string {
	modes, _, _ := unstructured.NestedStringSlice(spec, "accessModes")
	if len(modes) == 0 {
		return ""
	}
	return modes[0]
}

// labels of what bootstrap creates itself: the user's common ones, and the one by which it knows its own objects.
func (b *Bootstrap) labels() map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, b.Spec.Labels)
	labels[kube.ManagedByLabel] = kube.FieldManager
	return labels
}
