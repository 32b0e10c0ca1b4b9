package prepare

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// controlPlane is the label of the node that a folder is on where no node is named.
const controlPlane = "node-role.kubernetes.io/control-plane"

// sharedVolume compares where the files of all workspaces are with where the values say that they are. Neither a
// PersistentVolume nor a StorageClass can be changed in that: Helm would stop at it with some of the services replaced.
func sharedVolume(
	ctx context.Context, client *kube.Client, namespace string, gate hook.GateSpec,
) ([]finding.Finding, error) {
	want := gate.SharedVolume
	if want == nil {
		return nil, nil
	}
	volume, err := kube.Get[corev1.PersistentVolume](ctx, client, kube.Volumes, "", want.Volume)
	switch {
	case apierrors.IsNotFound(err):
		volume = nil
	case err != nil:
		return nil, fmt.Errorf("read PersistentVolume %s: %w", want.Volume, err)
	}
	wanted := place(want.Source)
	// One that the PVC let go is of no concern to a release that makes none of that name.
	makes := want.Source.NFS != nil || want.Source.Folder != nil
	if volume != nil && (makes || volume.Status.Phase == corev1.VolumeBound && !gate.Allow.KeptValues) {
		if has := placeOfVolume(volume); has != wanted {
			return []finding.Finding{moves(namespace, gate, "PersistentVolume "+want.Volume, has)}, nil
		}
		return nil, nil
	}
	if want.Source.CSI == nil {
		return nil, nil
	}
	class, err := kube.Get[storagev1.StorageClass](ctx, client, kube.StorageClasses, "", want.Class)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read StorageClass %s: %w", want.Class, err)
	}
	export := &hook.NFSExport{Server: class.Parameters["server"], Path: class.Parameters["share"]}
	has := place(hook.SharedSource{CSI: export})
	if has == wanted {
		return nil, nil
	}
	return []finding.Finding{moves(namespace, gate, "StorageClass "+want.Class, has)}, nil
}

// moves is the finding for a shared volume that is in another place than the values say.
func moves(namespace string, gate hook.GateSpec, held, has string) finding.Finding {
	want := gate.SharedVolume
	return finding.Finding{
		ID: finding.StorageShared, Severity: finding.Error, Object: object(namespace, gate), Value: "global.storage.shared",
		Found: fmt.Sprintf("the volume that all workspaces share is %s (%s) and would become %s",
			has, held, place(want.Source)),
		Why: "its source can't be changed: the upgrade would stop half-way, and the files would stay where they are",
		Fix: fmt.Sprintf("set global.storage.shared back; or, to move the files, stop all workspaces, copy the files, "+
			"delete PersistentVolumeClaim %s in namespace %s and %s, which deletes no file, and upgrade "+
			"(docs/upgrade.md, Move the shared volume)", want.Claim.Name, want.Claim.Namespace, held),
	}
}

// place describes a source, so that two that are the same read the same.
func place(source hook.SharedSource) string {
	switch {
	case source.NFS != nil:
		return fmt.Sprintf("NFS export %s:%s", source.NFS.Server, source.NFS.Path)
	case source.CSI != nil:
		return fmt.Sprintf("a folder that csi-driver-nfs makes in %s:%s", source.CSI.Server, source.CSI.Path)
	case source.Folder != nil && source.Folder.Node != "":
		return fmt.Sprintf("folder %s of node %s", source.Folder.Path, source.Folder.Node)
	case source.Folder != nil:
		return fmt.Sprintf("folder %s of the control plane's node", source.Folder.Path)
	}
	return "a volume of a StorageClass"
}

// placeOfVolume describes the source of a PersistentVolume.
func placeOfVolume(volume *corev1.PersistentVolume) string {
	switch spec := volume.Spec; {
	case spec.NFS != nil:
		return place(hook.SharedSource{NFS: &hook.NFSExport{Server: spec.NFS.Server, Path: spec.NFS.Path}})
	case spec.HostPath != nil:
		folder := &hook.NodeFolder{Path: spec.HostPath.Path}
		nodes := requirements(volume)
		switch {
		case len(nodes) == 1 && nodes[0].Key == corev1.LabelHostname && len(nodes[0].Values) == 1:
			folder.Node = nodes[0].Values[0]
		case !slices.ContainsFunc(nodes, func(r corev1.NodeSelectorRequirement) bool { return r.Key == controlPlane }):
			return fmt.Sprintf("folder %s of other nodes", folder.Path)
		}
		return place(hook.SharedSource{Folder: folder})
	}
	return "a volume of another kind"
}

// requirements are what a PersistentVolume asks of its node.
func requirements(volume *corev1.PersistentVolume) []corev1.NodeSelectorRequirement {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return nil
	}
	var all []corev1.NodeSelectorRequirement
	for _, term := range volume.Spec.NodeAffinity.Required.NodeSelectorTerms {
		all = append(all, term.MatchExpressions...)
	}
	return all
}
