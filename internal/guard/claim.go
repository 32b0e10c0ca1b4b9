package guard

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/storage"
)

// claim checks that a PVC of the user's is there, and that one which exists can become what is asked for.
func (g *guard) claim(ctx context.Context, check hook.ClaimCheck) ([]finding.Finding, error) {
	claims, err := g.claims(ctx, check)
	if err != nil {
		return nil, err
	}
	if len(claims) == 0 && check.Required {
		return one(finding.Finding{
			ID: finding.StorageClaims, Object: fmt.Sprintf("PersistentVolumeClaim %s/%s", check.Namespace, check.Name), Value: check.Value,
			Found: fmt.Sprintf("claim %s in namespace %s, named by %s, does not exist", check.Name, check.Namespace, check.Value),
			Fix:   "make it, or name another",
		})
	}
	wanted := storage.Wanted{
		Class: check.StorageClass, Volume: check.Volume, ClassValue: check.ClassValue, SizeValue: check.Value, Kept: check.Kept,
	}
	if check.Size != "" {
		if wanted.Size, err = resource.ParseQuantity(check.Size); err != nil {
			return nil, hook.Errorf(hook.Usage, "spec: size of %s: %w", check.Name, err)
		}
	}
	var findings []finding.Finding
	var errs []error
	for i := range claims {
		found, err := storage.Compare(ctx, g.client, &claims[i], wanted)
		findings, errs = append(findings, found...), append(errs, err)
	}
	return findings, errors.Join(errs...)
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

// node checks that exactly one node has a label: a volume that is a folder of a node is pinned to it.
func (g *guard) node(ctx context.Context, check hook.NodeCheck) ([]finding.Finding, error) {
	nodes, err := kube.List[corev1.Node](ctx, g.client, kube.Nodes, "", metav1.ListOptions{LabelSelector: check.Selector})
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	f := finding.Finding{ID: finding.StorageNode, Object: "Nodes", Value: check.Value, Fix: fmt.Sprintf("set %s to the kubernetes.io/hostname of that node", check.Value)}
	switch len(nodes) {
	case 1:
		return nil, nil
	case 0:
		f.Found = fmt.Sprintf("no node has the label %s, and the folder that all workspaces share is to be on one", check.Selector)
		return one(f)
	}
	f.Found = fmt.Sprintf("%d nodes have the label %s, %s and %s among them, and the folder that all workspaces share can be on one only",
		len(nodes), check.Selector, nodes[0].Name, nodes[1].Name)
	f.Fix += ", and let workspaces run there by global.workspaces.nodeSelector"
	return one(f)
}
