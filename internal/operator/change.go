package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// allow is how an install or an upgrade lets a change pass.
const allow = "--set global.upgrade.allowOperatorChange=true"

// Check finds what a revision must not do to the operator unless a value says so: bring one where other databases have
// theirs, remove or narrow one that they depend on, or replace it by an older one.
func Check(ctx context.Context, client *kube.Client, spec hook.OperatorSpec) ([]finding.Finding, error) {
	if spec.AllowChange {
		return nil, nil
	}
	live, err := Find(ctx, client, spec)
	if err != nil {
		return nil, err
	}
	findings := backwards(live, spec)
	affected, f := affects(live, spec)
	if affected == nil {
		return findings, nil
	}
	clusters, err := others(ctx, client, spec)
	switch {
	case apierrors.IsForbidden(err) && !spec.Bundled:
		// Only a revision that was not known to have an operator until now lacks the right to list them.
		f.Found += ", and which databases of other namespaces depend on it could not be checked (" + lacks(err) + ")"
	case err != nil:
		return findings, err
	default:
		clusters = slices.DeleteFunc(clusters, func(c metav1.PartialObjectMetadata) bool { return !affected(c.Namespace) })
		if len(clusters) == 0 {
			return findings, nil
		}
		f.Found += ": " + names(clusters)
	}
	return append(findings, f), nil
}

// affects reports which namespaces' databases feel what the revision does to the operator, and the finding about them
// without their names. It is nil where nothing changes.
func affects(live *Operator, spec hook.OperatorSpec) (func(namespace string) bool, finding.Finding) {
	f := finding.Finding{ID: finding.CNPGOtherDatabases, Severity: finding.Error, Value: "cloudnative-pg.enabled",
		Object: fmt.Sprintf("release %s in namespace %s", spec.Release, spec.Namespace)}
	watches := namespaces(spec.Watches)
	switch {
	case live == nil && !spec.Bundled:
		return nil, f
	case live == nil:
		f.Found = "this release contains a CloudNativePG operator, and the cluster already has databases of others"
		f.Why = "an operator that serves them would lose its webhooks to this one"
		f.Fix = "use the operator that serves them with --set cloudnative-pg.enabled=false; if none is running any more, " +
			allow + ", and cloudnative-pg.config.clusterWide=true if this one is to serve them too"
		return func(namespace string) bool { return namespace != spec.Namespace }, f
	case !spec.Bundled:
		f.Found = "this would remove the CloudNativePG operator on which other databases depend"
		f.Why = "without an operator nothing repairs their PostgreSQL or starts it again after a node is drained or lost"
		f.Fix = "keep cloudnative-pg.enabled=true, or accept it with " + allow +
			" and install another operator of the same or a newer version right afterwards"
		return live.LooksAfter, f
	case len(watches) > 0:
		f.Value = "cloudnative-pg.config.clusterWide"
		f.Found = "the CloudNativePG operator would no longer look after other databases"
		f.Why = "without an operator nothing repairs their PostgreSQL or starts it again after a node is drained or lost"
		f.Fix = "set cloudnative-pg.config.clusterWide=true, or accept it with " + allow
		return func(namespace string) bool { return live.LooksAfter(namespace) && !looksAfter(watches, namespace) }, f
	}
	return nil, f
}

// backwards finds an operator that would be replaced by an older one.
func backwards(live *Operator, spec hook.OperatorSpec) []finding.Finding {
	if live == nil || !spec.Bundled {
		return nil
	}
	running, next := Version(live.Image), Version(spec.Image)
	if running == nil || next == nil || !next.LessThan(running) {
		return nil
	}
	if running.Major() == next.Major() && running.Minor() == next.Minor() {
		// Patch releases share their definitions.
		return nil
	}
	return []finding.Finding{{
		ID: finding.CNPGOperator, Severity: finding.Error, Object: live.String(), Value: "cloudnative-pg.image.tag",
		Found: fmt.Sprintf("the CloudNativePG operator would go back from %s to %s, and its definitions with it",
			running, next),
		Why: "an older operator does not know all that a newer one wrote, and fields that its definitions lack are lost",
		Fix: fmt.Sprintf("use a chart with operator %s or newer, or accept it with %s", running, allow),
	}}
}

// Dependents finds the databases of others that depend on the operator of the release, which is about to be removed. It
// says how to continue.
func Dependents(ctx context.Context, client *kube.Client, spec hook.OperatorSpec) ([]finding.Finding, error) {
	live, err := Find(ctx, client, spec)
	if live == nil || err != nil {
		return nil, err
	}
	f := finding.Finding{
		ID: finding.TeardownOperator, Severity: finding.Error, Object: live.String(), Value: "uninstall.allowOperatorRemoval",
		Found: "this uninstall would remove the CloudNativePG operator on which other databases depend",
		Why: "nothing was stopped or deleted; without an operator nothing repairs their PostgreSQL or starts it again " +
			"after a node is drained or lost",
		Fix: fmt.Sprintf("uninstall or move those first; or accept it with kubectl annotate --overwrite configmap %s "+
			"--namespace %s %s=true and run helm uninstall again; or keep the release: helm rollback %s REVISION "+
			"--namespace %s, with the newest revision of helm history",
			spec.Installation, spec.Namespace, RemovalAnnotation, spec.Release, spec.Namespace),
	}
	clusters, err := others(ctx, client, spec)
	switch {
	case apierrors.IsForbidden(err):
		f.Found += ", or may: that could not be checked (" + lacks(err) + ")"
	case err != nil:
		return nil, err
	default:
		clusters = slices.DeleteFunc(clusters, func(c metav1.PartialObjectMetadata) bool {
			return !live.LooksAfter(c.Namespace)
		})
		if len(clusters) == 0 {
			return nil, nil
		}
		f.Found += ": " + names(clusters)
	}
	return []finding.Finding{f}, nil
}

// lacks says which permission an error is about.
func lacks(err error) string {
	return cmp.Or(kube.MissingPermission(err), kube.Brief(err))
}
