// Package cnpg checks whether CloudNativePG, bundled or found, can serve the database.
package cnpg

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/kube"
	running "github.com/neutree-ai/packaging/internal/operator"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return []preflight.Check{
		{ID: "cnpg.conflict", Title: "One CloudNativePG operator, and its definitions belong to whom they should", Needs: preflight.Cluster, Severity: preflight.Error, Applies: used, Run: conflict},
		{ID: "cnpg.operator", Title: "The operator that is there is new enough and looks after the namespace", Needs: preflight.Cluster, Severity: preflight.Error, Applies: found, Run: operator},
		{ID: "cnpg.other-databases", Title: "No other database would lose its operator", Needs: preflight.Cluster,
			Severity: preflight.Error, Applies: judged, Run: otherDatabases},
		{ID: "cnpg.scheduling", Title: "The bundled operator runs where global.scheduling says",
			Severity: preflight.Warning, Applies: bundled, Run: scheduling},
		{ID: "cnpg.webhook", Title: "The operator's webhook admits the database", Needs: preflight.Cluster, Severity: preflight.Error, Applies: settled, Run: webhook},
	}
}

func used(s *preflight.Subject) (bool, string) {
	return s.Requirements.Operator.Bundled || s.Requirements.Database.Mode == "cnpg", "the database is external and no operator is installed"
}

func found(s *preflight.Subject) (bool, string) {
	if ok, reason := used(s); !ok {
		return ok, reason
	}
	return !s.Requirements.Operator.Bundled || s.Options.Upgrade, "the release brings its own operator"
}

// settled says whether the database meets the definitions that are in the cluster: an upgrade may bring newer ones.
func settled(s *preflight.Subject) (bool, string) {
	if ok, reason := found(s); !ok {
		return ok, reason
	}
	return !s.Requirements.Operator.CRDs, "the release brings the definitions of its own operator"
}

var webhookConfigurations = []schema.GroupVersionResource{
	{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"},
}

const clustersCRD = "clusters.postgresql.cnpg.io"

func conflict(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	crd, err := s.Cluster.Get(ctx, kube.CRDs, "", clustersCRD)
	if err != nil {
		return nil, fmt.Errorf("read CustomResourceDefinition %s: %w", clustersCRD, err)
	}
	var crdOwner, webhookOwner string
	if crd != nil {
		crdOwner = kube.OtherOwner(crd, set.Release, set.Namespace)
	}
	for i, name := range []string{"cnpg-mutating-webhook-configuration", "cnpg-validating-webhook-configuration"} {
		hook, err := s.Cluster.Get(ctx, webhookConfigurations[i], "", name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if hook != nil && webhookOwner == "" {
			webhookOwner = kube.OtherOwner(hook, set.Release, set.Namespace)
		}
	}
	return conflicts(set.Operator, crd != nil, crdOwner, webhookOwner), nil
}

// conflicts judges by who owns what a cluster can hold only once.
func conflicts(operator requirement.Operator, crd bool, crdOwner, webhookOwner string) []preflight.Finding {
	const definitions = "CustomResourceDefinition " + clustersCRD
	switch {
	case operator.Bundled && webhookOwner != "":
		return []preflight.Finding{{
			Object: "MutatingWebhookConfiguration cnpg-mutating-webhook-configuration", Value: "cloudnative-pg.enabled",
			Found: "a CloudNativePG operator is in the cluster already, made by " + webhookOwner,
			Why:   "Helm refuses to install a second one over its webhooks, and two would fight over every database",
			Fix:   "use the one that is there: --set cloudnative-pg.enabled=false",
		}}
	case operator.Bundled && operator.CRDs && crdOwner != "":
		return []preflight.Finding{{
			Object: definitions, Value: "cloudnative-pg.crds.create",
			Found: "the CustomResourceDefinitions of CloudNativePG are in the cluster already, made by " + crdOwner,
			Why:   "Helm refuses to take over what is somebody else's",
			Fix: "leave them as they are: --set cloudnative-pg.crds.create=false (a hook marks them so that no tool prunes or " +
				"deletes them); or, if an operator still serves them, use that one: --set cloudnative-pg.enabled=false",
		}}
	case operator.Bundled && !operator.CRDs && !crd:
		return []preflight.Finding{{
			Object: definitions, Value: "cloudnative-pg.crds.create",
			Found: "cloudnative-pg.crds.create is false, but the cluster has no CustomResourceDefinitions of CloudNativePG",
			Why:   "the operator does not start without them", Fix: "leave cloudnative-pg.crds.create true",
		}}
	case !operator.Bundled && !crd:
		return []preflight.Finding{{
			Object: definitions, Value: "cloudnative-pg.enabled",
			Found: "cloudnative-pg.enabled is false, but the cluster has no CloudNativePG operator",
			Why:   "there would be no database", Fix: "install one, or leave cloudnative-pg.enabled true",
		}}
	}
	return nil
}

// oldestOperator is the first whose Clusters know every field that the platform's states.
var oldestOperator = version.MustParseGeneric("1.25.0")

func operator(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	list, err := kube.List[appsv1.Deployment](ctx, s.Cluster.Untyped, kube.Deployments, "",
		metav1.ListOptions{LabelSelector: running.Label})
	if err != nil {
		return nil, fmt.Errorf("look for a CloudNativePG operator in all namespaces: %w", err)
	}
	if set := s.Requirements; set.Operator.Bundled {
		return backwards(list, set), nil
	}
	return append(operators(list, s.Requirements.Namespace), keptOut(list, s.Requirements)...), nil
}

// backwards finds the release's own operator where an upgrade would replace it by an older one.
func backwards(list []appsv1.Deployment, set *requirement.Set) []preflight.Finding {
	next := running.Version(set.Operator.Image)
	for i := range list {
		if kube.OtherOwner(&list[i], set.Release, set.Namespace) != "" || next == nil {
			continue
		}
		for _, container := range list[i].Spec.Template.Spec.Containers {
			if was := running.Version(container.Image); was != nil && next.LessThan(was) {
				return []preflight.Finding{{
					Object: fmt.Sprintf("Deployment %s/%s", list[i].Namespace, list[i].Name), Value: "cloudnative-pg.image.tag",
					Found: fmt.Sprintf("the CloudNativePG operator would go back from %s to %s, and its definitions with it", was,
						next),
					Why: "an older operator does not know all that a newer one wrote, and fields that its definitions lack are lost",
					Fix: fmt.Sprintf("take a chart with operator %s or newer", was),
				}}
			}
		}
	}
	return nil
}

func operators(list []appsv1.Deployment, namespace string) []preflight.Finding {
	if len(list) == 0 {
		return []preflight.Finding{{
			Value: "cloudnative-pg.enabled", Severity: preflight.Warning,
			Found: "no Deployment in the cluster is labelled " + running.Label + ", so no operator was found to look at",
			Why:   "without an operator the database is never made", Fix: "make sure that one runs, or set cloudnative-pg.enabled=true",
		}}
	}
	var findings []preflight.Finding
	var watching, elsewhere []string
	for i := range list {
		deployment := &list[i]
		where := fmt.Sprintf("Deployment %s/%s", deployment.Namespace, deployment.Name)
		found := running.Of(deployment)
		if found.LooksAfter(namespace) {
			watching = append(watching, where)
			findings = append(findings, borrowed(deployment, found, namespace))
		} else {
			elsewhere = append(elsewhere, whose(deployment))
		}
		for _, container := range deployment.Spec.Template.Spec.Containers {
			was := running.Version(container.Image)
			if was == nil {
				continue
			}
			switch newest := version.MustParseGeneric(platform.OperatorImage.Tag); {
			case was.LessThan(oldestOperator):
				findings = append(findings, preflight.Finding{
					Object: where, Found: fmt.Sprintf("the CloudNativePG operator is %s, and the platform needs %s", was,
						oldestOperator),
					Why: "it does not know all fields of the database's Cluster", Fix: "upgrade the operator",
				})
			case was.Major() == newest.Major() && was.Minor() > newest.Minor():
				findings = append(findings, preflight.Finding{
					Object: where, Severity: preflight.Note,
					Found: fmt.Sprintf("the CloudNativePG operator is %s, newer than %s, which the platform is tested with", was,
						newest),
				})
			}
		}
		if deployment.Status.AvailableReplicas == 0 {
			findings = append(findings, preflight.Finding{
				Object: where, Found: "the CloudNativePG operator is not available",
				Why: "nobody makes the database", Fix: fmt.Sprintf("kubectl --namespace %s describe deployment %s", deployment.Namespace, deployment.Name),
			})
		}
	}
	if len(watching) == 0 {
		findings = append(findings, preflight.Finding{
			Found: fmt.Sprintf("no CloudNativePG operator looks after namespace %s, only after others: %s", namespace,
				strings.Join(elsewhere, ", ")),
			Why: "the database is never made",
			Fix: "let it look after all namespaces: upgrade the release of this chart that contains it with --set " +
				"cloudnative-pg.config.clusterWide=true, or add the namespace to the operator's WATCH_NAMESPACE",
		})
	}
	if len(watching) > 1 {
		findings = append(findings, preflight.Finding{
			Object: watching[0], Found: fmt.Sprintf("%d CloudNativePG operators look after namespace %s: %s", len(watching), namespace, strings.Join(watching, ", ")),
			Why: "they undo each other's work", Fix: "leave one",
		})
	}
	return findings
}

// webhook lets the operator judge the database itself.
func webhook(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	for _, object := range s.Requirements.Objects {
		if object.GroupVersionKind().Group != kube.Clusters.Group || object.GetKind() != "Cluster" {
			continue
		}
		where := fmt.Sprintf("Cluster %s/%s", object.GetNamespace(), object.GetName())
		namespace, err := s.TrialNamespace(ctx, object.GetNamespace())
		if err != nil {
			return nil, fmt.Errorf("try %s: %w", where, err)
		}
		live, err := s.Cluster.Get(ctx, kube.Clusters, object.GetNamespace(), object.GetName())
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", where, err)
		}
		// What may not change is kept when it is applied; upgrade.path tells of it.
		desired, _, err := database.KeepLive(object.Unstructured, live)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		desired = desired.DeepCopy()
		desired.SetNamespace(namespace)
		_, err = s.Cluster.Untyped.Apply(ctx, kube.Clusters, namespace, desired, true)
		switch err = preflight.Renamed(err, namespace, object.GetNamespace()); {
		case err == nil:
		case kube.AdmissionWebhookDown(err):
			return []preflight.Finding{{
				Object: where, Found: "the operator's webhook does not answer: " + kube.Brief(err), Why: "the API server takes no database until it does",
				Fix: "see that the operator runs, and that the API server reaches its pods on port 9443",
			}}, nil
		case kube.MissingPermission(err) != "":
			return nil, fmt.Errorf("try %s: %s", where, kube.MissingPermission(err))
		case kube.Unanswered(err), kube.NoDryRun(err):
			return nil, fmt.Errorf("try %s: %w", where, err)
		default:
			return []preflight.Finding{{
				Object: where, Value: "global.database.cnpg", Found: "the operator refuses the database: " + kube.Brief(err),
				Why: "there would be no database", Fix: "change what it names under global.database.cnpg, or upgrade the operator",
			}}, nil
		}
	}
	return nil, nil
}
