package storage

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Wanted is what a release asks of a PVC. What is zero is not compared.
type Wanted struct {
	// Class is the StorageClass, and Volume the PersistentVolume, that the value ClassValue asks for.
	Class, Volume, ClassValue string
	AccessMode                corev1.PersistentVolumeAccessMode
	// Size is what the value SizeValue asks for.
	Size      resource.Quantity
	SizeValue string
	// Kept says that a PVC which is larger, or of another class, may stay so: an apply leaves it alone.
	Kept bool
}

// Compare says what an existing PVC can't become. Neither Helm nor the provisioner would say so: an upgrade would end
// half-way, or leave the volume as it is.
func Compare(ctx context.Context, client *kube.Client, live *corev1.PersistentVolumeClaim, wanted Wanted) ([]finding.Finding, error) {
	name := fmt.Sprintf("claim %s in namespace %s", live.Name, live.Namespace)
	found := func(value, text, fix string) finding.Finding {
		return finding.Finding{
			ID: finding.StorageClaims, Severity: finding.Error, Object: fmt.Sprintf("PersistentVolumeClaim %s/%s", live.Namespace, live.Name),
			Value: value, Found: name + " " + text, Fix: fix,
		}
	}
	var findings []finding.Finding
	if has := ptr.Deref(live.Spec.StorageClassName, ""); wanted.Class != "" && wanted.Class != has && !wanted.Kept {
		findings = append(findings, found(wanted.ClassValue,
			fmt.Sprintf("has StorageClass %q, and a claim can't change it to %q", has, wanted.Class),
			fmt.Sprintf("set %s back to %q, or move the data to another volume", wanted.ClassValue, has)))
	}
	if has := live.Spec.VolumeName; wanted.Volume != "" && has != "" && wanted.Volume != has && !wanted.Kept {
		findings = append(findings, found(wanted.ClassValue,
			fmt.Sprintf("uses PersistentVolume %s, and a claim can't change it to %s", has, wanted.Volume),
			fmt.Sprintf("set %s back, or move the data to another volume", wanted.ClassValue)))
	}
	if wanted.AccessMode != "" && !slices.Contains(live.Spec.AccessModes, wanted.AccessMode) {
		findings = append(findings, found(wanted.ClassValue,
			fmt.Sprintf("has the access modes %v, and a claim can't change them to %s", live.Spec.AccessModes, wanted.AccessMode),
			"set the access mode that it has, or move the data to another volume"))
	}
	has := live.Spec.Resources.Requests[corev1.ResourceStorage]
	switch smaller := wanted.Size.Cmp(has); {
	case wanted.Size.IsZero(), smaller == 0, smaller < 0 && wanted.Kept:
		return findings, nil
	case smaller < 0:
		return append(findings, found(wanted.SizeValue,
			fmt.Sprintf("has %s and can't shrink to %s", has.String(), wanted.Size.String()),
			fmt.Sprintf("set %s to %s or more", wanted.SizeValue, has.String()))), nil
	}
	obstacle, err := growth(ctx, client, live)
	if err != nil || obstacle == "" {
		return findings, err
	}
	return append(findings, found(wanted.SizeValue,
		fmt.Sprintf("can't grow from %s to %s, since %s", has.String(), wanted.Size.String(), obstacle),
		fmt.Sprintf("leave %s at %s, or move the data to another volume", wanted.SizeValue, has.String()))), nil
}

// growth is what keeps the volume of a PVC from becoming larger, "" for nothing.
func growth(ctx context.Context, client *kube.Client, live *corev1.PersistentVolumeClaim) (string, error) {
	name := ptr.Deref(live.Spec.StorageClassName, "")
	if name == "" {
		return "its volume was made by hand", nil
	}
	class, err := kube.Get[storagev1.StorageClass](ctx, client, kube.StorageClasses, "", name)
	switch {
	case apierrors.IsNotFound(err):
		return "its StorageClass " + name + " is gone", nil
	case err != nil:
		return "", fmt.Errorf("read StorageClass %s: %w", name, err)
	case !Expands(class):
		return "its StorageClass " + name + " does not allow expansion", nil
	}
	return "", nil
}

// Expands says whether a class lets volumes grow.
func Expands(class *storagev1.StorageClass) bool { return ptr.Deref(class.AllowVolumeExpansion, false) }
