package bootstrap

import (
	"context"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/operator"
)

// protectDefinitions keeps tools that prune from ever deleting the CustomResourceDefinitions that this release has
// brought: their chart has no value for it. The platform works without, so a failure is said and nothing else; what
// prepares a revision without the definitions insists on it.
func (b *Bootstrap) protectDefinitions(ctx context.Context) {
	if b.Spec.Operator == nil {
		return
	}
	if _, err := operator.Protect(ctx, b.Log, b.Client, *b.Spec.Operator); err != nil {
		b.Log.Warn("CloudNativePG's CustomResourceDefinitions could not be marked not to be pruned", "cause", kube.Brief(err))
	}
}
