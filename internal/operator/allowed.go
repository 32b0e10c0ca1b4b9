package operator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Annotations of the ConfigMap that describes the installation. They allow what a rollback or an uninstall, which take
// no values, would else refuse.
const (
	// RemovalAnnotation is "true" to let an uninstall remove an operator that other databases depend on.
	RemovalAnnotation = "neutree.ai/remove-operator"
	// RollbackAnnotation names the tag of the operator that runs, so that it does not allow another rollback later.
	RollbackAnnotation = "neutree.ai/rollback-operator"
)

// Allowed reads what an annotation of the installation says.
func Allowed(ctx context.Context, client *kube.Client, spec hook.OperatorSpec, annotation string) (string, error) {
	live, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, spec.Namespace, spec.Installation)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read ConfigMap %s in namespace %s: %w", spec.Installation, spec.Namespace, err)
	}
	return live.Annotations[annotation], nil
}
