package provisioner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func request(class, node string, modes ...corev1.PersistentVolumeAccessMode) controller.ProvisionOptions {
	reclaim := corev1.PersistentVolumeReclaimDelete
	return controller.ProvisionOptions{
		StorageClass: &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, ReclaimPolicy: &reclaim},
		PVName:       "pvc-1",
		PVC: &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: modes,
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}},
		SelectedNodeName: node,
	}
}

func TestVolumesComeAndGo(t *testing.T) {
	for name, test := range map[string]struct {
		volumes  volumes
		options  controller.ProvisionOptions
		affinity *corev1.VolumeNodeAffinity
	}{
		"of a node":   {volumes{node: true}, request("local-path", "node2", corev1.ReadWriteOnce), only("node2")},
		"of all":      {volumes{}, request("shared", "node2", corev1.ReadWriteMany), nil},
		"before pods": {volumes{}, request("shared-immediate", "", corev1.ReadWriteMany), nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := test.volumes
			v.dir = t.TempDir()
			// Provisioning is repeated when its result is lost.
			for range 2 {
				if _, _, err := v.Provision(t.Context(), test.options); err != nil {
					t.Fatal(err)
				}
			}
			volume, state, err := v.Provision(t.Context(), test.options)
			if err != nil || state != controller.ProvisioningFinished {
				t.Fatalf("%s, %v", state, err)
			}
			if diff := cmp.Diff(test.affinity, volume.Spec.NodeAffinity); diff != "" {
				t.Errorf("node affinity (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.options.PVC.Spec.AccessModes, volume.Spec.AccessModes); diff != "" {
				t.Errorf("access modes (-want +got):\n%s", diff)
			}
			if size := volume.Spec.Capacity[corev1.ResourceStorage]; size.String() != "1Gi" {
				t.Errorf("size %s", size.String())
			}
			path := filepath.Join(v.dir, "pvc-1")
			info, err := os.Stat(path)
			if err != nil || volume.Spec.HostPath.Path != path || info.Mode().Perm() != 0o777 {
				t.Errorf("directory %s: %v, %v", volume.Spec.HostPath.Path, info, err)
			}
			if err := os.WriteFile(filepath.Join(path, "file"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := v.Delete(t.Context(), volume); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("the directory is still there: %v", err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	blockRequest := request("shared", "node1", corev1.ReadWriteOnce)
	blockRequest.PVC.Spec.VolumeMode = &block
	for name, test := range map[string]struct {
		options controller.ProvisionOptions
		want    string
	}{
		"many nodes at once": {request("local-path", "node1", corev1.ReadWriteMany), "storage class local-path has volumes of one node only and cannot serve ReadWriteMany: use the class shared"},
		"many readers":       {request("local-path", "node1", corev1.ReadOnlyMany), "storage class local-path has volumes of one node only and cannot serve ReadOnlyMany: use the class shared"},
		"no node":            {request("local-path", "", corev1.ReadWriteOnce), "storage class local-path needs to know the pod's node: set volumeBindingMode WaitForFirstConsumer"},
		"block":              {blockRequest, "storage class shared has no block volumes"},
	} {
		t.Run(name, func(t *testing.T) {
			v := volumes{dir: t.TempDir(), node: true}
			_, state, err := v.Provision(t.Context(), test.options)
			if err == nil || err.Error() != test.want || state != controller.ProvisioningFinished {
				t.Errorf("got %s, %v, want %s", state, err, test.want)
			}
			entries, err := os.ReadDir(v.dir)
			if err != nil || len(entries) != 0 {
				t.Errorf("a refused volume left %v, %v", entries, err)
			}
		})
	}
}

func TestDeleteLeavesOthersDirectoriesAlone(t *testing.T) {
	v := volumes{dir: t.TempDir()}
	elsewhere := t.TempDir()
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "hand-made"}}
	volume.Spec.HostPath = &corev1.HostPathVolumeSource{Path: elsewhere}
	err := v.Delete(t.Context(), volume)
	if err == nil || err.Error() != "volume hand-made lies outside "+v.dir+": remove it by hand" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
}
