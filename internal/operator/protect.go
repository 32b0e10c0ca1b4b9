package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Protect marks the operator's CustomResourceDefinitions, as far as they are there, so that no tool deletes them when a
// render no longer contains them. Those of another Helm release are left alone unless this release contains the
// operator. helm.sh/resource-policy, which the definitions have from their chart, does not keep ArgoCD from pruning them,
// and with a definition all objects of its kind are deleted, in all namespaces. It returns how many it changed.
func Protect(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.OperatorSpec) (int, error) {
	changed := 0
	var errs []error
	for _, name := range spec.Definitions {
		definition, err := client.GetMetadata(ctx, kube.CRDs, "", name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read CustomResourceDefinition %s: %w", name, err))
			continue
		}
		missing := kube.NotPruned(definition.Annotations)
		if len(missing) == 0 || !spec.Bundled && foreign(definition, spec) {
			continue
		}
		if err := client.Merge(ctx, kube.CRDs, "", name, kube.Annotate(missing)); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("protect CustomResourceDefinition %s: %w", name, err))
			continue
		}
		changed++
	}
	if changed > 0 {
		log.Info("the operator's CustomResourceDefinitions are marked not to be pruned", "count", changed)
	}
	return changed, errors.Join(errs...)
}

func foreign(definition *metav1.PartialObjectMetadata, spec hook.OperatorSpec) bool {
	return definition.Annotations[kube.ReleaseAnnotation] != "" &&
		kube.OtherOwner(definition, spec.Release, spec.Namespace) != ""
}
