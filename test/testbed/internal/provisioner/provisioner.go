// Package provisioner makes the volumes of the testbed's storage classes: directories on the machine's disk, which
// every node sees under the same path.
package provisioner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Names of the two provisioners.
const (
	// LocalPath makes volumes that belong to one node, as a node's own disk does.
	LocalPath = "testbed.neutree.ai/local-path"
	// Shared makes volumes that all nodes can use at once, as a file server does.
	Shared = "testbed.neutree.ai/shared"
)

// Run serves the claims of both provisioners until ctx ends. Volumes are directories in dir.
func Run(ctx context.Context, client kubernetes.Interface, dir string) error {
	// The volumes are open to any user of a pod, but not to those of the machine.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the volumes: %w", err)
	}
	done := make(chan struct{})
	for _, name := range []string{LocalPath, Shared} {
		p := &volumes{dir: dir, node: name == LocalPath}
		go func() {
			defer func() { done <- struct{}{} }()
			controller.NewProvisionController(ctx, client, name, p, controller.LeaderElection(false)).Run(ctx)
		}()
	}
	<-done
	<-done
	return ctx.Err()
}

// volumes makes volumes of one kind.
type volumes struct {
	dir string
	// node says that each volume belongs to the node it was made for.
	node bool
}

var _ controller.Provisioner = (*volumes)(nil)

// Provision makes a directory and describes it.
func (v *volumes) Provision(_ context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	volume, err := v.describe(options)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	path := volume.Spec.HostPath.Path
	if err := os.Mkdir(path, 0o777); err != nil && !os.IsExist(err) {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make the volume's directory: %w", err)
	}
	// Any user of any pod may write, whatever the umask says.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make the volume's directory: %w", err)
	}
	return volume, controller.ProvisioningFinished, nil
}

func (v *volumes) describe(options controller.ProvisionOptions) (*corev1.PersistentVolume, error) {
	claim := options.PVC
	if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock {
		return nil, fmt.Errorf("storage class %s has no block volumes", options.StorageClass.Name)
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(v.dir, options.PVName)},
			},
		},
	}
	if !v.node {
		return volume, nil
	}
	for _, mode := range []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany, corev1.ReadOnlyMany} {
		if slices.Contains(claim.Spec.AccessModes, mode) {
			return nil, fmt.Errorf("storage class %s has volumes of one node only and cannot serve %s: use the class shared", options.StorageClass.Name, mode)
		}
	}
	if options.SelectedNodeName == "" {
		return nil, fmt.Errorf("storage class %s needs to know the pod's node: set volumeBindingMode WaitForFirstConsumer", options.StorageClass.Name)
	}
	volume.Spec.NodeAffinity = only(options.SelectedNodeName)
	return volume, nil
}

func only(node string) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}},
	}}}}
}

// Delete removes the volume's directory.
func (v *volumes) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	source := volume.Spec.HostPath
	if source == nil || filepath.Dir(source.Path) != v.dir {
		return fmt.Errorf("volume %s lies outside %s: remove it by hand", volume.Name, v.dir)
	}
	if err := os.RemoveAll(source.Path); err != nil {
		return fmt.Errorf("remove the volume's directory: %w", err)
	}
	return nil
}
