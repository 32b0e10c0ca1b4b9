package restorefrom

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
)

// files says what the cluster has of users' files, which no backup contains: the PVCs that have to come from the
// storage.
func (r *Restore) files(ctx context.Context, at places) ([]string, error) {
	_, err := r.Client.GetMetadata(ctx, kube.Claims, at.Workspaces, at.Shared)
	shared := fmt.Sprintf("shared files: PVC %s in namespace %s is there, and stays as it is", at.Shared, at.Workspaces)
	switch {
	case apierrors.IsNotFound(err):
		shared = fmt.Sprintf("shared files: PVC %s in namespace %s is missing; unless it is there before the install, "+
			"with what the storage has saved, the install creates it empty", at.Shared, at.Workspaces)
	case err != nil:
		return nil, kube.Refused(err, "look for PVC %s in namespace %s", at.Shared, at.Workspaces)
	}
	count := 0
	all := metav1.ListOptions{}
	err = r.Client.EachMetadata(ctx, kube.Claims, at.Workspaces, all, func(claim *metav1.PartialObjectMetadata) {
		if strings.HasPrefix(claim.Name, "tos-") && strings.HasSuffix(claim.Name, "-workspace") {
			count++
		}
	})
	if err != nil {
		return nil, kube.Refused(err, "list the PVCs of workspaces in namespace %s", at.Workspaces)
	}
	return []string{shared, fmt.Sprintf("files of workspaces: %d PVCs tos-<workspace>-workspace in namespace %s are there; "+
		"a workspace without its PVC starts with an empty one", count, at.Workspaces)}, nil
}

// empty says whether the namespace has no volumes, so that nothing in it can be lost.
func (r *Restore) empty(ctx context.Context) (bool, error) {
	claims, err := r.Client.ListMetadata(ctx, kube.Claims, r.Namespace, metav1.ListOptions{})
	if err != nil {
		return false, kube.Refused(err, "list the PVCs in namespace %s", r.Namespace)
	}
	return len(claims) == 0, nil
}
