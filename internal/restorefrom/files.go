package restorefrom

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/offsite"
)

// Files says what the cluster has of users' files, which no backup contains: PVCs that have to come from the storage.
type Files struct {
	// Namespace is that of the workspaces, Shared the PVC that all of them share.
	Namespace, Shared string
	// SharedThere says that this PVC is there, Workspaces how many PVCs of single workspaces are.
	SharedThere bool
	Workspaces  int
}

// files looks for users' files.
func (r *Restore) files(ctx context.Context, at places) (Files, error) {
	f := Files{Namespace: at.Workspaces, Shared: at.Shared, SharedThere: true}
	_, err := r.Client.GetMetadata(ctx, kube.Claims, at.Workspaces, at.Shared)
	switch {
	case apierrors.IsNotFound(err):
		f.SharedThere = false
	case err != nil:
		return f, kube.Refused(err, "look for PVC %s in namespace %s", at.Shared, at.Workspaces)
	}
	all := metav1.ListOptions{}
	err = r.Client.EachMetadata(ctx, kube.Claims, at.Workspaces, all, func(claim *metav1.PartialObjectMetadata) {
		if strings.HasPrefix(claim.Name, "tos-") && strings.HasSuffix(claim.Name, "-workspace") {
			f.Workspaces++
		}
	})
	return f, kube.Refused(err, "list the PVCs of workspaces in namespace %s", at.Workspaces)
}

// before are lines on what there is before the restore.
func (f Files) before() []string {
	shared := fmt.Sprintf("shared files: PVC %s in namespace %s is there, and stays as it is", f.Shared, f.Namespace)
	if !f.SharedThere {
		shared = fmt.Sprintf("shared files: PVC %s in namespace %s is missing, and is created empty; to have the files, "+
			"create it first with what the storage has saved", f.Shared, f.Namespace)
	}
	return []string{shared, fmt.Sprintf("files of workspaces: %d PVCs tos-<workspace>-workspace are in namespace %s; "+
		"a workspace without its PVC starts with an empty one", f.Workspaces, f.Namespace)}
}

// Missing are lines on what the storage still has to bring after the restore.
func (f Files) Missing() []string {
	var lines []string
	if !f.SharedThere {
		lines = append(lines, fmt.Sprintf("shared files: PVC %s in namespace %s was created empty; copy into it what the "+
			"storage has saved", f.Shared, f.Namespace))
	}
	return append(lines, fmt.Sprintf("files of workspaces: %d PVCs tos-<workspace>-workspace were in namespace %s; create "+
		"those that are missing with what the storage has saved before their workspaces start", f.Workspaces, f.Namespace))
}

// absent are findings on what the backups of the release need in its namespace, and what a person has to create there.
func (r *Restore) absent(ctx context.Context, at places) ([]finding.Finding, error) {
	var found []finding.Finding
	for _, kind := range []struct {
		gvr   schema.GroupVersionResource
		what  string
		names map[string]string
	}{{kube.Secrets, "Secret", at.Secrets}, {kube.Claims, "PVC", at.Claims}} {
		for _, value := range slices.Sorted(maps.Keys(kind.names)) {
			name := kind.names[value]
			restored := kind.gvr == kube.Secrets && slices.ContainsFunc(r.Escrow.Secrets, func(s offsite.EscrowSecret) bool {
				return s.Name == name
			})
			if name == "" || restored {
				continue
			}
			_, err := r.Client.GetMetadata(ctx, kind.gvr, r.Namespace, name)
			switch {
			case apierrors.IsNotFound(err):
				found = append(found, finding.Finding{ID: finding.BackupInstall, Severity: finding.Error, Value: value,
					Object: kind.what + " " + r.Namespace + "/" + name,
					Found: fmt.Sprintf("namespace %s has no %s %s, which %s names: the backups of the release need it, and no "+
						"copy contains it", r.Namespace, kind.what, name, value),
					Fix: "create the namespace and the " + kind.what + ", or install without it (--values-out, then --values)"})
			case err != nil:
				return nil, kube.Refused(err, "look for %s %s in namespace %s", kind.what, name, r.Namespace)
			}
		}
	}
	return found, nil
}

// empty says whether the namespace has no volumes, so that nothing in it can be lost.
func (r *Restore) empty(ctx context.Context) (bool, error) {
	claims, err := r.Client.ListMetadata(ctx, kube.Claims, r.Namespace, metav1.ListOptions{})
	if err != nil {
		return false, kube.Refused(err, "list the PVCs in namespace %s", r.Namespace)
	}
	return len(claims) == 0, nil
}
