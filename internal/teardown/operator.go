package teardown

import (
	"context"
	"fmt"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/operator"
)

// keepOperator refuses an uninstall that would take the CloudNativePG operator away from the databases of others.
// Nothing is stopped before it has answered. What it cannot find out it does not take for harmless.
func (t *Teardown) keepOperator(ctx context.Context) error {
	if t.Spec.Operator == nil || t.Spec.Operator.AllowChange {
		return nil
	}
	_, uninstalling, err := t.uninstalling(ctx)
	if err != nil || !uninstalling {
		// Then nothing is stopped or removed either.
		return nil
	}
	spec := *t.Spec.Operator
	findings, err := operator.Dependents(ctx, t.Client, spec)
	if err == nil && len(findings) == 0 {
		return nil
	}
	allowed, readErr := operator.Allowed(ctx, t.Client, spec, operator.RemovalAnnotation)
	switch {
	case allowed == "true":
		t.Log.Warn("the operator is removed though other databases depend on it, as the annotation allows")
		return nil
	case err != nil:
		return fmt.Errorf("find the databases that depend on the release's CloudNativePG operator: %w", err)
	case readErr != nil:
		return readErr
	}
	return hook.Refuse(findings...)
}
