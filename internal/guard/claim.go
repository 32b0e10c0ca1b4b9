package guard

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// claim proves that a claim of the user's is there, and that one which exists can become as large as asked for.
// Neither Helm nor the provisioner would say so: an upgrade would end half-way, or leave the volume as it is.
func (g *guard) claim(ctx context.Context, check hook.ClaimCheck) error {
	claims, err := g.claims(ctx, check)
	if err != nil {
		return err
	}
	if len(claims) == 0 {
		if check.Required {
			return problemf("claim %s in namespace %s, named by %s, does not exist: make it, or name another", check.Name, check.Namespace, check.Value)
		}
		return nil
	}
	for _, claim := range claims {
		if has := ptr.Deref(claim.Spec.StorageClassName, ""); check.StorageClass != "" && check.StorageClass != has && !check.Kept {
			return problemf("claim %s in namespace %s has StorageClass %q, and a claim can't change it to %q: set %s back, or move the data to another volume",
				claim.Name, claim.Namespace, has, check.StorageClass, check.ClassValue)
		}
	}
	if check.Size == "" {
		return nil
	}
	wanted, err := resource.ParseQuantity(check.Size)
	if err != nil {
		return hook.Errorf(hook.Usage, "spec: size of %s: %w", check.Name, err)
	}
	for _, claim := range claims {
		has := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		switch smaller := wanted.Cmp(has); {
		case smaller == 0, smaller < 0 && check.Kept:
			continue
		case smaller < 0:
			return problemf("claim %s in namespace %s has %s and can't shrink to %s: set %s to %s or more",
				claim.Name, claim.Namespace, has.String(), wanted.String(), check.Value, has.String())
		}
		grows, class, err := g.grows(ctx, claim)
		if err != nil {
			return err
		}
		if !grows {
			return problemf("claim %s in namespace %s can't grow from %s to %s, since %s: leave %s at %s, or move the data to another volume",
				claim.Name, claim.Namespace, has.String(), wanted.String(), class, check.Value, has.String())
		}
	}
	return nil
}

func (g *guard) claims(ctx context.Context, check hook.ClaimCheck) ([]corev1.PersistentVolumeClaim, error) {
	if check.Selector != "" {
		claims, err := kube.List[corev1.PersistentVolumeClaim](ctx, g.client, kube.Claims, check.Namespace, metav1.ListOptions{LabelSelector: check.Selector})
		if err != nil {
			return nil, fmt.Errorf("list the claims in namespace %s: %w", check.Namespace, err)
		}
		return claims, nil
	}
	claim, err := kube.Get[corev1.PersistentVolumeClaim](ctx, g.client, kube.Claims, check.Namespace, check.Name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read claim %s in namespace %s: %w", check.Name, check.Namespace, err)
	}
	return []corev1.PersistentVolumeClaim{*claim}, nil
}

// grows tells whether the class of a claim makes its volumes larger, and why if it does not.
func (g *guard) grows(ctx context.Context, claim corev1.PersistentVolumeClaim) (bool, string, error) {
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" {
		return false, "its volume was made by hand", nil
	}
	name := *claim.Spec.StorageClassName
	class, err := kube.Get[storagev1.StorageClass](ctx, g.client, kube.StorageClasses, "", name)
	switch {
	case apierrors.IsNotFound(err):
		return false, "its StorageClass " + name + " is gone", nil
	case err != nil:
		return false, "", fmt.Errorf("read StorageClass %s: %w", name, err)
	}
	return class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion, "its StorageClass " + name + " does not allow expansion", nil
}

// node proves that exactly one node has a label: a volume that is a folder of a node is pinned to it.
func (g *guard) node(ctx context.Context, check hook.NodeCheck) error {
	nodes, err := kube.List[corev1.Node](ctx, g.client, kube.Nodes, "", metav1.ListOptions{LabelSelector: check.Selector})
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	switch len(nodes) {
	case 1:
		return nil
	case 0:
		return problemf("no node has the label %s, and the folder that all workspaces share is to be on one: set %s to the kubernetes.io/hostname of that node", check.Selector, check.Value)
	}
	return problemf("%d nodes have the label %s, %s and %s among them, and the folder that all workspaces share can be on one only: set %s to the kubernetes.io/hostname of that node, and let workspaces run there by global.workspaces.nodeSelector",
		len(nodes), check.Selector, nodes[0].Name, nodes[1].Name, check.Value)
}
