package storage

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func claims(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	for _, claim := range s.Requirements.Claims {
		if claim.Name == "" || claim.By == requirement.Runner {
			continue
		}
		live, err := kube.Get[corev1.PersistentVolumeClaim](ctx, s.Cluster.Untyped, kube.Claims, claim.Namespace, claim.Name)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", name(claim), err)
		default:
			findings = append(findings, differences(claim, live)...)
		}
	}
	return findings, nil
}

// differences are what a claim that exists can't be changed to.
func differences(claim requirement.Claim, live *corev1.PersistentVolumeClaim) []preflight.Finding {
	var findings []preflight.Finding
	class := ""
	if live.Spec.StorageClassName != nil {
		class = *live.Spec.StorageClassName
	}
	if claim.Class != "" && claim.Class != class {
		findings = append(findings, preflight.Finding{
			Object: name(claim), Value: claim.Value,
			Cause: fmt.Sprintf("claim %s, for %s, has the StorageClass %q and can't get %q", live.Name, claim.Why, class, claim.Class),
			Why:   "Helm refuses to change it", Fix: fmt.Sprintf("set %s=%s", claim.Value, class),
		})
	}
	if !slices.Contains(live.Spec.AccessModes, claim.AccessMode) {
		findings = append(findings, preflight.Finding{
			Object: name(claim), Value: claim.Value,
			Cause: fmt.Sprintf("claim %s, for %s, has the access modes %v and can't get %s", live.Name, claim.Why, live.Spec.AccessModes, claim.AccessMode),
			Why:   "Helm refuses to change it", Fix: "set the access mode that it has, or copy its data to a new claim",
		})
	}
	if has := live.Spec.Resources.Requests[corev1.ResourceStorage]; has.Cmp(claim.Size) > 0 {
		findings = append(findings, preflight.Finding{
			Object: name(claim), Value: claim.Value, Severity: preflight.Warning,
			Cause: fmt.Sprintf("claim %s, for %s, has %s and can't shrink to %s", live.Name, claim.Why, has.String(), claim.Size.String()),
			Why:   "volumes only grow: the larger one is kept, or the change is refused", Fix: "set the size that it has",
		})
	}
	if live.Status.Phase == corev1.ClaimLost {
		findings = append(findings, preflight.Finding{
			Object: name(claim),
			Cause:  fmt.Sprintf("claim %s, for %s, has lost its volume %s", live.Name, claim.Why, live.Spec.VolumeName),
			Why:    "pods that mount it never start", Fix: "bring the PersistentVolume back, or delete the claim and restore a backup",
		})
	}
	return findings
}
