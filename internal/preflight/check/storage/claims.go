package storage

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/guard"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/storage"
)

// claims compares claims that are there with what would be asked of them. Of their sizes, and of claims that the user
// has to make, the chart's own hook knows the rules; the database's are the topic of upgrade.path.
func claims(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	prepare := s.Requirements.Prepare
	checks := slices.Clone(prepare.Guard.Claims)
	for i := range checks {
		// What is immutable is compared below, all of it.
		checks[i].StorageClass = ""
	}
	findings, err := hooked(ctx, s, hook.GuardSpec{Namespace: prepare.Namespace, Claims: checks})
	if err != nil {
		return nil, err
	}
	for _, claim := range s.Requirements.Claims {
		if claim.By != requirement.Helm && claim.By != requirement.Bootstrap {
			continue
		}
		live, err := kube.Get[corev1.PersistentVolumeClaim](ctx, s.Cluster.Untyped, kube.Claims, claim.Namespace, claim.Name)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", name(claim), err)
		default:
			different, err := differences(ctx, s.Cluster.Untyped, claim, live)
			if err != nil {
				return nil, err
			}
			findings = append(findings, different...)
		}
	}
	return findings, nil
}

const unchanging = "Kubernetes refuses to change it"

// differences are what a claim that exists can't be changed to.
func differences(ctx context.Context, client *kube.Client, claim requirement.Claim, live *corev1.PersistentVolumeClaim) ([]preflight.Finding, error) {
	findings, err := storage.Compare(ctx, client, live, storage.Wanted{Class: claim.Class, ClassValue: claim.Value, AccessMode: claim.AccessMode})
	for i := range findings {
		findings[i].Why = unchanging
	}
	if live.Status.Phase == corev1.ClaimLost {
		findings = append(findings, preflight.Finding{
			Object: name(claim),
			Found:  fmt.Sprintf("claim %s, for %s, has lost its volume %s", live.Name, claim.Why, live.Spec.VolumeName),
			Why:    "pods that mount it never start", Fix: "bring the PersistentVolume back, or delete the claim and restore a backup",
		})
	}
	return findings, err
}

// folder proves that the node with the folder that all workspaces share is one, as the chart's own hook does.
func folder(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	prepare := s.Requirements.Prepare
	return hooked(ctx, s, hook.GuardSpec{Namespace: prepare.Namespace, Nodes: prepare.Guard.Nodes})
}

func onNode(s *preflight.Subject) (bool, string) {
	return len(s.Requirements.Prepare.Guard.Nodes) > 0, "the volume that all workspaces share is no folder of a node (global.storage.shared.nodeLocal)"
}

// hooked tries a part of what the chart's own hook tries before an install.
func hooked(ctx context.Context, s *preflight.Subject, spec hook.GuardSpec) ([]preflight.Finding, error) {
	findings, err := guard.Check(ctx, slog.New(slog.DiscardHandler), s.Cluster.Untyped, spec)
	return preflight.Refused(findings), err
}
