package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// sharedClaim is the claim that bootstrap applies for the volume that all workspaces share.
func sharedClaim(t *testing.T, objects []chart.Object) *corev1.PersistentVolumeClaim {
	t.Helper()
	config := find[*corev1.ConfigMap](t, withoutCRDs(objects), namespace, specConfigMap(t, bootstrapJob(t, objects)))
	claim := &corev1.PersistentVolumeClaim{}
	if err := yaml.UnmarshalStrict([]byte(config.Data["claim.yaml"]), claim); err != nil {
		t.Fatalf("ConfigMap %s: claim.yaml: %v", config.Name, err)
	}
	return claim
}

func guardSpec(t *testing.T, objects []chart.Object) hook.GuardSpec {
	t.Helper()
	return specOf[hook.GuardSpec](t, objects, "nap-pre-install", "guard")
}

// A volume made by hand binds to the one claim it is made for, and keeps its files whatever becomes of that.
func TestVolumesMadeByHand(t *testing.T) {
	for name, test := range map[string]struct {
		set  []string
		want func(corev1.PersistentVolumeSpec) bool
	}{
		"an export": {[]string{"global.storage.shared.nfs.server=nfs.example.org", "global.storage.shared.nfs.path=/exports/nap"},
			func(spec corev1.PersistentVolumeSpec) bool {
				return spec.NFS != nil && spec.NFS.Server == "nfs.example.org" && spec.NFS.Path == "/exports/nap" && slices.Contains(spec.MountOptions, "hard") && spec.NodeAffinity == nil
			}},
		"a folder of the only node": {[]string{"global.storage.shared.nodeLocal.enabled=true"},
			func(spec corev1.PersistentVolumeSpec) bool {
				return spec.HostPath != nil && *spec.HostPath.Type == corev1.HostPathDirectoryOrCreate &&
					spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Key == "node-role.kubernetes.io/control-plane"
			}},
		"a folder of a node": {[]string{"global.storage.shared.nodeLocal.enabled=true", "global.storage.shared.nodeLocal.node=a", "global.storage.shared.nodeLocal.path=/data/nap"},
			func(spec corev1.PersistentVolumeSpec) bool {
				return spec.HostPath.Path == "/data/nap" && spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] == "a"
			}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := ours(render(t, test.set...).Objects)
			volume := find[*corev1.PersistentVolume](t, objects, namespace, "nap-nap-shared")
			if !test.want(volume.Spec) {
				t.Errorf("PersistentVolume = %+v", volume.Spec)
			}
			if volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain || volume.Annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("PersistentVolume: an uninstall would take it, or its files: %s, %v", volume.Spec.PersistentVolumeReclaimPolicy, volume.Annotations)
			}
			claim := sharedClaim(t, objects)
			if volume.Spec.ClaimRef.Name != claim.Name || volume.Spec.ClaimRef.Namespace != claim.Namespace || claim.Spec.VolumeName != volume.Name {
				t.Errorf("the volume is for %s/%s, and the claim %s/%s is for %s", volume.Spec.ClaimRef.Namespace, volume.Spec.ClaimRef.Name, claim.Namespace, claim.Name, claim.Spec.VolumeName)
			}
			if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != "" {
				t.Errorf("the claim has a StorageClass, %v, which would make it another volume", claim.Spec.StorageClassName)
			}
			if claim.Spec.Resources.Requests[corev1.ResourceStorage] != volume.Spec.Capacity[corev1.ResourceStorage] || !slices.Equal(claim.Spec.AccessModes, volume.Spec.AccessModes) {
				t.Errorf("the claim %+v does not fit the volume %+v", claim.Spec, volume.Spec)
			}
		})
	}
}

// Without a size in the values a volume of several nodes gets 500Gi when it is new, and one of a single node 50Gi.
// Bootstrap sees from the cluster whether it is new: nothing else compares or applies a size that no value names.
func TestSizeOfTheSharedVolume(t *testing.T) {
	const shared = "global.storage.shared."
	export := []string{shared + "nfs.server=nfs", shared + "nfs.path=/x"}
	for name, c := range map[string]struct {
		set   []string
		files []string
		want  string
		given bool
	}{
		"several nodes":       {want: "500Gi"},
		"a class":             {set: []string{shared + "storageClass=files"}, want: "500Gi"},
		"an export by csi":    {set: append(slices.Clone(export), shared+"nfs.csi=true"), want: "500Gi"},
		"an export":           {set: export, want: "50Gi"},
		"a folder":            {set: []string{shared + "nodeLocal.enabled=true"}, want: "50Gi"},
		"one node's class":    {set: []string{shared + "accessMode=ReadWriteOnce"}, want: "50Gi"},
		"the single-node one": {files: []string{source + "/values-single-node.yaml"}, want: "50Gi", given: true},
		"several, for HA":     {files: []string{source + "/values-ha.yaml"}, want: "500Gi"},
		"a size":              {set: []string{shared + "size=2Ti"}, want: "2Ti", given: true},
	} {
		t.Run(name, func(t *testing.T) {
			objects := ours(renderFor(t, target{set: c.set, files: c.files, upgrade: true}).Objects)
			size := sharedClaim(t, objects).Spec.Resources.Requests[corev1.ResourceStorage]
			if size.String() != c.want {
				t.Errorf("a new volume has %s, want %s", size.String(), c.want)
			}
			if spec := bootstrapSpec(t, objects); spec.SharedClaim.DefaultSize == c.given {
				t.Errorf("bootstrap.yaml: sharedClaim = %+v, so a volume that exists would be changed", spec.SharedClaim)
			}
			for _, claim := range guardSpec(t, objects).Claims {
				if claim.Name == "afs-shared-storage" && (claim.Size != "") != c.given {
					t.Errorf("guard.yaml compares the size of a volume that exists with %q", claim.Size)
				}
			}
		})
	}
}

func TestExportThroughItsDriver(t *testing.T) {
	objects := ours(render(t, "global.storage.shared.nfs.server=nfs.example.org", "global.storage.shared.nfs.path=/exports/nap", "global.storage.shared.nfs.csi=true").Objects)
	class := find[*storagev1.StorageClass](t, objects, namespace, "nap-nap-nfs")
	if class.Provisioner != "nfs.csi.k8s.io" || class.Parameters["mountPermissions"] != "0777" || !*class.AllowVolumeExpansion {
		t.Errorf("StorageClass = %+v, want volumes that workspaces can write to, and that grow", class)
	}
	if claim := sharedClaim(t, objects); *claim.Spec.StorageClassName != class.Name || claim.Spec.VolumeName != "" {
		t.Errorf("claim = %+v, want it of class %s", claim.Spec, class.Name)
	}
}

func TestClaimsOfTheUsersOwn(t *testing.T) {
	objects := ours(render(t, "global.storage.shared.existingClaim=files", "global.storage.afsController.existingClaim=database").Objects)
	for _, object := range objects {
		if object.GetKind() == "PersistentVolumeClaim" || object.GetKind() == "PersistentVolume" {
			t.Errorf("%s is made beside the user's own", object)
		}
	}
	if spec := bootstrapSpec(t, objects); spec.SharedClaim.Manifest != "" {
		t.Errorf("bootstrap.yaml: sharedClaim = %+v, want none", spec.SharedClaim)
	}
	for _, name := range []string{"nap-cp", "nap-env-runner-k8s"} {
		p := podOf(t, objects, "Deployment", name)
		if got := variables(t, p, p.spec().Containers[0])["AFS_STORAGE_PVC"].Value; got != "files" {
			t.Errorf("%s: AFS_STORAGE_PVC = %s, want files", p.from, got)
		}
	}
	mounted := slices.ContainsFunc(podOf(t, objects, "Deployment", "afs-controller").spec().Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "database"
	})
	if !mounted {
		t.Error("afs-controller does not mount the user's claim")
	}
	want := []hook.ClaimCheck{
		{Namespace: namespace, Selector: "cnpg.io/cluster=nap-pg", Size: "10Gi", Value: "global.database.cnpg.storage.size", Kept: true},
		{Namespace: namespace, Name: "database", Required: true, Value: "global.storage.afsController.existingClaim"},
		{Namespace: workspace, Name: "files", Required: true, Value: "global.storage.shared.existingClaim"},
	}
	if diff := cmp.Diff(want, guardSpec(t, objects).Claims); diff != "" {
		t.Errorf("guard.yaml: claims (-want +got):\n%s", diff)
	}
}

func TestGuardLooksForTheNodeOfTheSharedFolder(t *testing.T) {
	for set, want := range map[string]string{"global.storage.shared.nodeLocal.enabled=true": "node-role.kubernetes.io/control-plane", "global.storage.shared.nodeLocal.enabled=true,global.storage.shared.nodeLocal.node=a": "kubernetes.io/hostname=a"} {
		got := guardSpec(t, render(t, set).Objects).Nodes
		if diff := cmp.Diff([]hook.NodeCheck{{Selector: want, Value: "global.storage.shared.nodeLocal.node"}}, got); diff != "" {
			t.Errorf("guard.yaml: nodes with %s (-want +got):\n%s", set, diff)
		}
	}
}
