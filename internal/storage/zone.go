package storage

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// isZone says whether a label names a zone: the usual ones do, and those of CSI drivers, such as
// topology.ebs.csi.aws.com/zone.
func isZone(key string) bool { return strings.HasSuffix(key, "/zone") }

// ZonesOf are the zones whose nodes can mount a volume, none where it can be mounted in all.
func ZonesOf(volume *corev1.PersistentVolume) []string {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return nil
	}
	var zones []string
	for _, term := range volume.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, expression := range term.MatchExpressions {
			if isZone(expression.Key) && expression.Operator == corev1.NodeSelectorOpIn {
				zones = append(zones, expression.Values...)
			}
		}
	}
	return sorted(zones)
}

// AllowedZones are the zones in which a class creates volumes, none where it names none.
func AllowedZones(class *storagev1.StorageClass) []string {
	var zones []string
	for _, term := range class.AllowedTopologies {
		for _, expression := range term.MatchLabelExpressions {
			if isZone(expression.Key) {
				zones = append(zones, expression.Values...)
			}
		}
	}
	return sorted(zones)
}

func sorted(zones []string) []string {
	slices.Sort(zones)
	return slices.Compact(zones)
}

// BindsAtOnce says whether a class creates a volume before it is known which pod mounts it.
func BindsAtOnce(class *storagev1.StorageClass) bool {
	return class.VolumeBindingMode == nil || *class.VolumeBindingMode == storagev1.VolumeBindingImmediate
}
