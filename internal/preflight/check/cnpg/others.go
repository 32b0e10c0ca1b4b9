package cnpg

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/neutree-ai/packaging/internal/kube"
	running "github.com/neutree-ai/packaging/internal/operator"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func bundled(s *preflight.Subject) (bool, string) {
	return s.Requirements.Operator.Bundled, "the release brings no operator"
}

// judged says whether the chart's own hook would judge what becomes of the operator.
func judged(s *preflight.Subject) (bool, string) {
	return s.Requirements.Prepare.Operator != nil, "the database is external and no operator is installed"
}

// otherDatabases asks what the hook before an install and an upgrade asks.
func otherDatabases(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	findings, err := running.Check(ctx, s.Cluster.Untyped, *s.Requirements.Prepare.Operator)
	if err != nil {
		return nil, err
	}
	// An operator that would go back is the topic of cnpg.operator.
	return slices.DeleteFunc(findings, func(f preflight.Finding) bool { return f.ID != "cnpg.other-databases" }), nil
}

// scheduling finds what global.scheduling says for all pods and the operator's own values lack: Helm hands a dependency
// no values but its own.
func scheduling(_ context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	for _, key := range []string{"nodeSelector", "tolerations", "priorityClassName"} {
		all, _, _ := unstructured.NestedFieldNoCopy(s.Requirements.Values, "global", "scheduling", key)
		own, _, _ := unstructured.NestedFieldNoCopy(s.Requirements.Values, "cloudnative-pg", key)
		if selector, is := own.(map[string]any); is {
			// The chart's own default says nothing of what the user wants.
			selector = maps.Clone(selector)
			delete(selector, corev1.LabelOSStable)
			own = selector
		}
		if empty(all) || !empty(own) {
			continue
		}
		findings = append(findings, preflight.Finding{
			Value: "cloudnative-pg." + key,
			Found: fmt.Sprintf("global.scheduling.%[1]s is set and cloudnative-pg.%[1]s is not", key),
			Why:   "the CloudNativePG operator does not follow global.scheduling: its pods may run elsewhere, or nowhere",
			Fix:   fmt.Sprintf("set cloudnative-pg.%[1]s to the same as global.scheduling.%[1]s", key),
		})
	}
	return findings, nil
}

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// whose names an operator's Deployment and the release that it belongs to.
func whose(deployment *appsv1.Deployment) string {
	owner := "applied by something other than Helm"
	if release := deployment.Annotations[kube.ReleaseAnnotation]; release != "" {
		owner = fmt.Sprintf("of release %s in namespace %s", release, deployment.Annotations[kube.ReleaseNamespaceAnnotation])
	}
	return fmt.Sprintf("Deployment %s/%s, %s", deployment.Namespace, deployment.Name, owner)
}

// borrowed says on whose operator the database will depend.
func borrowed(deployment *appsv1.Deployment, found *running.Operator, namespace string) preflight.Finding {
	version := ""
	if v := running.Version(found.Image); v != nil {
		version = " " + v.String()
	}
	return preflight.Finding{
		Object: found.String(), Severity: preflight.Note,
		Found: fmt.Sprintf("the database in namespace %s depends on CloudNativePG operator%s, which is not part of this release: %s",
			namespace, version, whose(deployment)),
		Why: "removing or upgrading that operator concerns this database too",
	}
}

// keptOut finds an operator that the release's NetworkPolicy would keep from the database.
func keptOut(list []appsv1.Deployment, set *requirement.Set) []preflight.Finding {
	var findings []preflight.Finding
	for i := range list {
		deployment := &list[i]
		if !running.Of(deployment).LooksAfter(set.Namespace) || admitted(deployment, set) {
			continue
		}
		findings = append(findings, preflight.Finding{
			Object: running.Of(deployment).String(), Value: "global.database.cnpg.operatorNamespace",
			Found: fmt.Sprintf("the release's NetworkPolicy keeps the CloudNativePG operator in namespace %s from the database",
				deployment.Namespace),
			Why: "the operator cannot ask for the state of PostgreSQL, so the database never gets ready",
			Fix: "set global.database.cnpg.operatorNamespace=" + deployment.Namespace,
		})
	}
	return findings
}

// admitted reports whether the policies of the database admit an operator: a peer that names the operator's label must
// name its namespace too.
func admitted(deployment *appsv1.Deployment, set *requirement.Set) bool {
	named := false
	for _, object := range set.Objects {
		if object.GetKind() != "NetworkPolicy" || object.GetNamespace() != set.Namespace {
			continue
		}
		policy := &networkingv1.NetworkPolicy{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, policy); err != nil {
			continue
		}
		for _, rule := range policy.Spec.Ingress {
			for _, peer := range rule.From {
				if peer.PodSelector == nil || !strings.Contains(metav1.FormatLabelSelector(peer.PodSelector), running.Label) {
					continue
				}
				named = true
				if peer.NamespaceSelector == nil && deployment.Namespace == set.Namespace || peer.NamespaceSelector != nil &&
					selects(peer.NamespaceSelector, deployment.Namespace) {
					return true
				}
			}
		}
	}
	return !named
}

func selects(selector *metav1.LabelSelector, namespace string) bool {
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set{"kubernetes.io/metadata.name": namespace})
}
