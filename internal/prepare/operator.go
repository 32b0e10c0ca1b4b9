package prepare

import (
	"context"
	"fmt"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/operator"
)

// operator collects what the revision must not do to the CloudNativePG operator.
func (p *Prepare) operator(ctx context.Context) ([]finding.Finding, error) {
	if p.Spec.Operator == nil {
		return nil, nil
	}
	return operator.Check(ctx, p.Client, *p.Spec.Operator)
}

// protectDefinitions keeps tools that prune from deleting the operator's CustomResourceDefinitions, before the revision
// is applied. A revision that does not contain them must not be applied without.
func (p *Prepare) protectDefinitions(ctx context.Context) error {
	if p.Spec.Operator == nil {
		return nil
	}
	_, err := operator.Protect(ctx, p.Log, p.Client, *p.Spec.Operator)
	switch {
	case err == nil:
		return nil
	case !p.Spec.Operator.Rendered:
		return kube.Refused(err, "mark CloudNativePG's CustomResourceDefinitions, which this revision does not contain, "+
			"not to be pruned")
	}
	p.Log.Warn("CloudNativePG's CustomResourceDefinitions could not be marked not to be pruned", "cause", kube.Brief(err))
	return nil
}

// operator refuses a rollback to a revision with an older operator, or with one that no longer serves the databases of
// others. A rollback takes no values, so an annotation lets it pass.
func (r *Rollback) operator(ctx context.Context) error {
	if r.Spec.Operator == nil {
		return nil
	}
	spec := *r.Spec.Operator
	findings, err := operator.Check(ctx, r.Client, spec)
	if err != nil {
		// Going back may be what fixes the cause.
		r.Log.Warn("what the rollback makes of the CloudNativePG operator could not all be checked", "cause", kube.Brief(err))
	}
	if len(findings) == 0 {
		return nil
	}
	live, findErr := operator.Find(ctx, r.Client, spec)
	if findErr != nil || live == nil {
		return kube.Refuse(findings, nil)
	}
	running := "any"
	if version := operator.Version(live.Image); version != nil {
		running = version.String()
	}
	allowed, readErr := operator.Allowed(ctx, r.Client, spec, operator.RollbackAnnotation)
	if readErr != nil {
		return readErr
	}
	if allowed == running {
		r.Log.Warn("the rollback changes the CloudNativePG operator, as the annotation allows", "from", running)
		return nil
	}
	for i := range findings {
		findings[i].Fix = fmt.Sprintf("fix the newer version and run helm upgrade; or roll back all the same with kubectl "+
			"annotate --overwrite configmap %s --namespace %s %s=%s. Helm leaves the release pending-rollback: first run "+
			"helm neutree recover %s --namespace %s",
			spec.Installation, spec.Namespace, operator.RollbackAnnotation, running, spec.Release, spec.Namespace)
	}
	return kube.Refuse(findings, nil)
}
