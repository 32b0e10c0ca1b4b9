package guard

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/storage"
)

// storageClasses checks the StorageClasses of PVCs that would be created.
func (g *guard) storageClasses(ctx context.Context, checks []hook.StorageClassCheck) ([]finding.Finding, error) {
	if len(checks) == 0 {
		return nil, nil
	}
	classes, err := storage.ListClasses(ctx, g.client)
	if err != nil {
		return nil, err
	}
	var findings []finding.Finding
	for _, check := range checks {
		class, problem := storage.Resolve(classes, storage.ClassRequest{
			Purpose: check.Purpose, Value: check.Value, Name: check.Name,
			AccessMode: corev1.PersistentVolumeAccessMode(check.AccessMode),
		})
		if class == nil {
			kept, err := Unneeded(ctx, g.client, g.namespace, check)
			switch {
			case kube.MissingPermission(err) != "" && check.PVC != nil && check.PVC.Namespace != g.namespace:
				g.log.Info("StorageClass not checked: the PVC can't be read here, so bootstrap checks the class where it "+
					"creates one", "purpose", check.Purpose, "cause", kube.Brief(err))
			case err != nil:
				return findings, err
			case kept != "":
				g.log.Warn(problem.Found+", which stops no upgrade: "+kept, "finding", problem.ID, "value", check.Value)
			default:
				findings = append(findings, *problem)
			}
			continue
		}
		if problem != nil {
			g.log.Warn(problem.Sentence(), "finding", problem.ID)
		}
		g.log.Info("StorageClass found", "purpose", check.Purpose, "class", class.Name)
	}
	return findings, nil
}

// Unneeded is one sentence on why an upgrade can do without a class that does not exist, or "": all its PVCs exist, or
// an earlier install chose it for PVCs that are created later. namespace is the release's.
func Unneeded(ctx context.Context, client *kube.Client, namespace string, check hook.StorageClassCheck) (string, error) {
	if check.PVC != nil {
		exist, err := existing(ctx, client, *check.PVC)
		if err != nil || exist < max(check.PVC.Count, 1) {
			return "", err
		}
		return "every PVC for it exists, so none is created", nil
	}
	if check.Chosen == nil {
		return "", nil
	}
	config, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, namespace, check.Chosen.ConfigMap)
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read ConfigMap %s/%s: %w", namespace, check.Chosen.ConfigMap, err)
	}
	chosen := config.Data[check.Chosen.Key]
	if !storage.StaysChosen(chosen, check.Name) {
		return "", nil
	}
	return fmt.Sprintf("an earlier install chose StorageClass %s, and workspaces that exist have their PVCs; "+
		"new ones need the class", chosen), nil
}

// existing is how many of the PVCs exist. One that is being deleted is created again.
func existing(ctx context.Context, client *kube.Client, pvcs hook.PVCs) (int, error) {
	number := 0
	count := func(pvc *corev1.PersistentVolumeClaim) {
		if pvc.DeletionTimestamp == nil {
			number++
		}
	}
	if pvcs.Selector != "" {
		err := kube.Each(ctx, client, kube.Claims, pvcs.Namespace, metav1.ListOptions{LabelSelector: pvcs.Selector}, count)
		if err != nil {
			return 0, fmt.Errorf("list the PVCs in namespace %s: %w", pvcs.Namespace, err)
		}
		return number, nil
	}
	pvc, err := kube.Get[corev1.PersistentVolumeClaim](ctx, client, kube.Claims, pvcs.Namespace, pvcs.Name)
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil
	case apierrors.IsForbidden(err):
		// The right to read it comes with a namespace that the release creates.
		_, noNamespace := kube.Get[corev1.Namespace](ctx, client, kube.Namespaces, "", pvcs.Namespace)
		if apierrors.IsNotFound(noNamespace) {
			return 0, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("read PVC %s/%s: %w", pvcs.Namespace, pvcs.Name, err)
	}
	count(pvc)
	return number, nil
}
