// Package storage checks whether the cluster serves the volumes that are asked for, and whether StorageClasses do what they say.
package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/neutree-ai/packaging/internal/guard"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/storage"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return append([]preflight.Check{
		{
			ID: "storage.class", Title: "Every volume has a StorageClass that exists and can serve it",
			Needs: preflight.Cluster, Severity: preflight.Error, Run: served,
		},
		{ID: "storage.default", Title: "One StorageClass is the default", Needs: preflight.Cluster, Severity: preflight.Warning, Applies: leftToDefault, Run: over(defaults)},
		{ID: "storage.growth", Title: "Volumes that may grow can", Needs: preflight.Cluster, Severity: preflight.Warning, Run: over(expansion)},
		{ID: "storage.binding", Title: "Volumes are made where the pods that use them can run", Needs: preflight.Cluster, Severity: preflight.Warning, Run: binding},
		{ID: "storage.reclaim", Title: "Data outlives the deletion of a claim", Needs: preflight.Cluster, Severity: preflight.Warning, Run: over(reclaim)},
		{ID: "storage.claims", Title: "Claims that are there already fit", Needs: preflight.Cluster, Severity: preflight.Error, Run: claims},
		{ID: "storage.node", Title: "One node has the folder that all workspaces share", Needs: preflight.Cluster, Severity: preflight.Error, Applies: onNode, Run: folder},
		{ID: "storage.snapshot", Title: "Backups by volume snapshot have a VolumeSnapshotClass", Needs: preflight.Cluster, Severity: preflight.Error, Applies: snapshots, Run: snapshotClasses},
	}, probes()...)
}

// over runs a check that needs nothing but the classes.
func over(check func([]storagev1.StorageClass, []requirement.Claim) []preflight.Finding) func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
	return func(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
		classes, err := s.Cluster.StorageClasses(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the StorageClasses: %w", err)
		}
		return check(classes, s.Requirements.Claims), nil
	}
}

// resolve finds the class of a claim, nil where there is none.
func resolve(classes []storagev1.StorageClass, claim requirement.Claim) (*storagev1.StorageClass, *preflight.Finding) {
	return storage.Resolve(classes, storage.ClassRequest{Purpose: claim.Why, Value: claim.Value, Name: claim.Class, AccessMode: claim.AccessMode})
}

// served checks the StorageClass of each PVC that would be created.
func served(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	all, err := s.Cluster.StorageClasses(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the StorageClasses: %w", err)
	}
	var findings []preflight.Finding
	for _, claim := range s.Requirements.Claims {
		class, problem := resolve(all, claim)
		if problem == nil {
			continue
		}
		problem.Object, problem.Why = name(claim), "the claim stays Pending for ever, and with it the pod that mounts it"
		if class != nil {
			problem.Why = "workspaces on every other node never start"
			findings = append(findings, *problem)
			continue
		}
		kept, err := guard.Unneeded(ctx, s.Cluster.Untyped, s.Requirements.Namespace, wanted(s.Requirements, claim))
		if err != nil {
			return findings, err
		}
		if kept != "" {
			problem.Severity, problem.Why = preflight.Warning, "an upgrade is possible: "+kept
		}
		findings = append(findings, *problem)
	}
	return findings, nil
}

// wanted is what the chart's own hook asks of the class of a claim.
func wanted(set *requirement.Set, claim requirement.Claim) hook.StorageClassCheck {
	check := hook.StorageClassCheck{Name: claim.Class, PVC: &hook.PVCs{
		Namespace: claim.Namespace, Name: claim.Name, Selector: claim.Selector, Count: int(claim.Count),
	}}
	if claim.By != requirement.Runner {
		return check
	}
	check.PVC = nil
	for _, known := range set.Prepare.Guard.StorageClasses {
		if known.Value == claim.Value {
			check.Chosen = known.Chosen
		}
	}
	return check
}

// leftToDefault says whether a volume is left to the cluster's default class.
func leftToDefault(s *preflight.Subject) (bool, string) {
	for _, claim := range s.Requirements.Claims {
		if claim.Class == "" {
			return true, ""
		}
	}
	return false, "every volume names its class"
}

func defaults(classes []storagev1.StorageClass, claims []requirement.Claim) []preflight.Finding {
	var marked []string
	for i := range classes {
		if storage.IsDefaultClass(&classes[i]) {
			marked = append(marked, classes[i].Name)
		}
	}
	if len(marked) < 2 {
		// Without any, the claims that need one are named by storage.class.
		return nil
	}
	slices.Sort(marked)
	return []preflight.Finding{{
		Object: "StorageClass " + marked[0],
		Found:  fmt.Sprintf("%d StorageClasses are marked as the default: %s", len(marked), strings.Join(marked, ", ")),
		Why:    "Kubernetes takes the newest, so a class that somebody adds later changes where new volumes go",
		Fix:    fmt.Sprintf("kubectl annotate storageclass %s storageclass.kubernetes.io/is-default-class-, or name the classes in %s", marked[0], values(claims)),
	}}
}

// values lists the values that leave their class to the cluster.
func values(claims []requirement.Claim) string {
	var names []string
	for _, claim := range claims {
		if claim.Class == "" && !slices.Contains(names, claim.Value) {
			names = append(names, claim.Value)
		}
	}
	return strings.Join(names, ", ")
}

func expansion(classes []storagev1.StorageClass, claims []requirement.Claim) []preflight.Finding {
	var findings []preflight.Finding
	for _, claim := range claims {
		class, _ := resolve(classes, claim)
		if class == nil || !claim.Grows || storage.Expands(class) {
			continue
		}
		findings = append(findings, preflight.Finding{
			Object: "StorageClass " + class.Name, Value: claim.Value,
			Found: fmt.Sprintf("StorageClass %s for %s does not let volumes grow", class.Name, claim.Why),
			Why:   fmt.Sprintf("once its %s are full, it takes a new volume and a copy", claim.Size.String()),
			Fix:   fmt.Sprintf("kubectl patch storageclass %s -p '{\"allowVolumeExpansion\":true}' if %s can, or choose a larger size now", class.Name, class.Provisioner),
		})
	}
	return findings
}

func reclaim(classes []storagev1.StorageClass, claims []requirement.Claim) []preflight.Finding {
	var findings []preflight.Finding
	var named []string
	for _, claim := range claims {
		class, _ := resolve(classes, claim)
		if class == nil || slices.Contains(named, class.Name) || (class.ReclaimPolicy != nil && *class.ReclaimPolicy == corev1.PersistentVolumeReclaimRetain) {
			continue
		}
		named = append(named, class.Name)
		findings = append(findings, preflight.Finding{
			Object: "StorageClass " + class.Name, Value: claim.Value, Severity: preflight.Note,
			Found: fmt.Sprintf("StorageClass %s deletes a volume with its claim", class.Name),
			Why:   "who deletes a claim or its namespace deletes the data; an uninstall keeps both",
			Fix:   "for data that must outlive that, choose a class with reclaimPolicy Retain, and keep backups",
		})
	}
	return findings
}

func name(claim requirement.Claim) string {
	return fmt.Sprintf("PersistentVolumeClaim %s/%s", claim.Namespace, claim.Name)
}
