package requirement

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/platform"
)

// claims are those that are rendered or made by bootstrap, beside those of the database and of workspaces.
func (d *derivation) claims() {
	known := map[string]struct{ why, value string }{
		platform.SharedClaim:     {"the volume that all workspaces share", "global.storage.shared.storageClass"},
		platform.ControllerClaim: {"the AFS controller's database", "global.storage.afsController.storageClass"},
	}
	var found []Claim
	for _, o := range each[corev1.PersistentVolumeClaim](d, "PersistentVolumeClaim") {
		if o.By == Runner || len(o.typed.Spec.AccessModes) == 0 {
			continue
		}
		claim := Claim{
			Name: o.GetName(), Namespace: o.GetNamespace(), AccessMode: o.typed.Spec.AccessModes[0],
			Size: *o.typed.Spec.Resources.Requests.Storage(), KeepsSize: o.KeepsSize, Count: 1, By: o.By,
			Why: cmp.Or(known[o.GetName()].why, "the volume "+o.GetName()), Value: known[o.GetName()].value,
		}
		if class := o.typed.Spec.StorageClassName; class != nil {
			claim.Class = *class
		}
		if o.typed.Spec.VolumeName != "" {
			// It is bound to one volume that is there: no class is asked.
			continue
		}
		claim.User, claim.Group = d.mountedBy(claim)
		found = append(found, claim)
	}
	if claim, ok := d.backupClaim(); ok {
		found = append(found, claim)
	}
	d.set.Claims = append(found, d.set.Claims...)
	slices.SortStableFunc(d.set.Claims, func(a, b Claim) int { return cmp.Compare(a.Name, b.Name) })
}

// backupClaim is the one that the first backup makes, beside the release.
func (d *derivation) backupClaim() (Claim, bool) {
	if len(d.backups.Claim.Spec.AccessModes) == 0 {
		return Claim{}, false
	}
	spec := d.backups.Claim.Spec
	claim := Claim{
		Name: d.backups.Claim.Name, Namespace: d.set.Namespace, AccessMode: spec.AccessModes[0], Size: *spec.Resources.Requests.Storage(),
		Count: 1, By: Bootstrap, Why: "the backups", Value: "global.backup.storageClass",
	}
	if spec.StorageClassName != nil {
		claim.Class = *spec.StorageClassName
	}
	if security := d.backups.Create.Spec.Template.Spec.SecurityContext; security != nil {
		claim.User, claim.Group = security.RunAsUser, security.FSGroup
	}
	return claim, true
}

// mountedBy is whom the release's own pods mount a claim as.
func (d *derivation) mountedBy(claim Claim) (user, group *int64) {
	for _, pod := range d.set.Pods {
		mounts := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name
		})
		if !mounts || pod.Namespace != claim.Namespace || pod.Spec.SecurityContext == nil {
			continue
		}
		return pod.Spec.SecurityContext.RunAsUser, pod.Spec.SecurityContext.FSGroup
	}
	return nil, nil
}
