package poddiag

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/storage"
)

// elsewhere are the scheduler's words for a volume that the nodes it looked at can't mount, in newer and older versions.
var elsewhere = []string{"didn't match PersistentVolume's node affinity", "volume node affinity conflict"}

// VolumeElsewhere says whether a pod finds no node because its volumes can only be mounted on others.
func (t Trouble) VolumeElsewhere() bool {
	if t.Kind != Unschedulable {
		return false
	}
	for _, words := range elsewhere {
		if strings.Contains(t.Message, words) {
			return true
		}
	}
	return false
}

// claimsOf are the names of the PVCs that a pod mounts.
func claimsOf(pod *corev1.Pod) []string {
	var names []string
	for _, volume := range pod.Spec.Volumes {
		if claim := volume.PersistentVolumeClaim; claim != nil {
			names = append(names, claim.ClaimName)
		}
	}
	return names
}

// WithZones adds to the PVCs of a pod whose volumes are elsewhere the zones that those are in, as far as they can be read.
func (c Client) WithZones(ctx context.Context, namespace string, t Trouble) Trouble {
	if !t.VolumeElsewhere() {
		return t
	}
	named := make([]string, len(t.Claims))
	for i, name := range t.Claims {
		named[i] = name
		claim, err := kube.Get[corev1.PersistentVolumeClaim](ctx, c.Client, kube.Claims, namespace, name)
		if err != nil || claim.Spec.VolumeName == "" {
			continue
		}
		volume, err := kube.Get[corev1.PersistentVolume](ctx, c.Client, kube.Volumes, "", claim.Spec.VolumeName)
		if err != nil {
			continue
		}
		if zones := storage.ZonesOf(volume); len(zones) > 0 {
			named[i] = fmt.Sprintf("%s (zone %s)", name, strings.Join(zones, ", "))
		}
	}
	t.Claims = named
	return t
}

// volumes says of a finding about a pod whose volumes are elsewhere which they are, and what to do.
func (t Trouble) volumes(f *finding.Finding) {
	f.ID, f.Object = finding.StorageBinding, "PersistentVolumeClaim "+t.Claims[0]
	if len(t.Claims) == 1 {
		f.Why = fmt.Sprintf("only other nodes can mount the volume of PVC %s", t.Claims[0])
		f.Fix = "bring those nodes back, make room on them, or move the data to another volume"
		return
	}
	last := len(t.Claims) - 1
	f.Why = fmt.Sprintf("it mounts the PVCs %s and %s, and no node can mount the volumes of all",
		strings.Join(t.Claims[:last], ", "), t.Claims[last])
	f.Fix = "create one of them again where the other is: copy what it contains, delete it, and use a StorageClass with " +
		"volumeBindingMode WaitForFirstConsumer (for backups global.backup.storageClass)"
}
