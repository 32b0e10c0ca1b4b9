// Package existing checks what is in the cluster already: the release itself, another one, or an installation that
// was made without Helm.
package existing

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return []preflight.Check{
		{ID: "existing.release", Title: "No operation on the release is under way", Needs: preflight.Cluster, Severity: preflight.Error, Run: release},
		{ID: "existing.install", Title: "No installation made without Helm is in the namespace", Needs: preflight.Cluster, Severity: preflight.Error, Run: install},
		{ID: "existing.names", Title: "Nobody else has objects of the release's names", Needs: preflight.Cluster, Severity: preflight.Error, Run: names},
	}
}

func release(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	records, err := s.Cluster.ListMetadata(ctx, kube.Secrets, set.Namespace, "owner=helm,name="+set.Release)
	if err != nil {
		return nil, fmt.Errorf("list Helm's records in namespace %s: %w", set.Namespace, err)
	}
	return state(records, set), nil
}

// state judges by the newest record of the release.
func state(records []metav1.PartialObjectMetadata, set *requirement.Set) []preflight.Finding {
	newest, number := "", 0
	for _, record := range records {
		var revision int
		if _, err := fmt.Sscanf(record.Labels["version"], "%d", &revision); err == nil && revision > number {
			newest, number = record.Labels["status"], revision
		}
	}
	object := fmt.Sprintf("release %s in namespace %s", set.Release, set.Namespace)
	switch {
	case strings.HasPrefix(newest, "pending-"):
		return []preflight.Finding{{
			Object: object,
			Found:  fmt.Sprintf("revision %d of release %s is %s: another helm runs, or one was killed", number, set.Release, newest),
			Why:    "Helm refuses every other operation",
			Fix:    fmt.Sprintf("wait for it, or if nobody runs it: helm neutree recover %s --namespace %s", set.Release, set.Namespace),
		}}
	case newest == "uninstalling":
		return []preflight.Finding{{
			Object: object,
			Found:  fmt.Sprintf("release %s is being uninstalled", set.Release),
			Why:    "Helm refuses an upgrade of it",
			Fix:    fmt.Sprintf("end it first: helm uninstall %s --namespace %s", set.Release, set.Namespace),
		}}
	case newest == "failed":
		return []preflight.Finding{{
			Object: object, Severity: preflight.Note,
			Found: fmt.Sprintf("revision %d of release %s failed; an upgrade with the same values goes on from there", number, set.Release),
		}}
	case newest != "":
		return []preflight.Finding{{
			Object: object, Severity: preflight.Note,
			Found: fmt.Sprintf("release %s is installed, revision %d: what is checked is an upgrade of it", set.Release, number),
		}}
	}
	return nil
}

func install(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	deployments, err := s.Cluster.ListMetadata(ctx, kube.Deployments, set.Namespace, "")
	if err != nil {
		return nil, fmt.Errorf("list the Deployments in namespace %s: %w", set.Namespace, err)
	}
	clusters, err := s.Cluster.ListMetadata(ctx, kube.Clusters, set.Namespace, "")
	if err != nil {
		return nil, fmt.Errorf("list the PostgreSQL clusters in namespace %s: %w", set.Namespace, err)
	}
	return unmanaged(deployments, clusters, set), nil
}

// unmanaged finds what the platform's own script installs: its control plane and its database.
func unmanaged(deployments, clusters []metav1.PartialObjectMetadata, set *requirement.Set) []preflight.Finding {
	var found []string
	prefix := ""
	for _, deployment := range deployments {
		if base, is := strings.CutSuffix(deployment.Name, "-cp"); is && !managed(&deployment) && slices.ContainsFunc(deployments, func(o metav1.PartialObjectMetadata) bool {
			return o.Name == base+"-cg" || o.Name == base+"-scheduler"
		}) {
			found, prefix = append(found, "Deployment "+deployment.Name), base
		}
	}
	if prefix == "" {
		return nil
	}
	for _, cluster := range clusters {
		if cluster.Name == prefix+"-pg" {
			found = append(found, "PostgreSQL cluster "+cluster.Name)
		}
	}
	fix := fmt.Sprintf("install into another namespace, or take it over: with Helm 3.17 or newer, --take-ownership, global.workspaces.namespace=%s and cloudnative-pg.enabled=false, after a backup", set.Namespace)
	if prefix != set.Prefix {
		fix += fmt.Sprintf("; its names start with %q, so set global.namePrefix=%s", prefix, prefix)
	}
	return []preflight.Finding{{
		Object: found[0], Value: "global.namePrefix",
		Found: fmt.Sprintf("namespace %s holds an installation of the platform that Helm does not manage: %s", set.Namespace, strings.Join(found, ", ")),
		Why:   "Helm refuses to touch objects that are not its own",
		Fix:   fix,
	}}
}

// names compares, kind by kind, what is there with what would be made.
func names(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	type place struct {
		gvk       schema.GroupVersionKind
		namespace string
	}
	wanted := map[place][]requirement.Object{}
	var order []place
	for _, object := range set.Objects {
		// Hooks replace what is there; the operator's own objects are the topic of cnpg.conflict.
		if object.By != requirement.Helm || object.Hook != nil || Operators(object.Unstructured) {
			continue
		}
		at := place{object.GroupVersionKind(), object.GetNamespace()}
		if wanted[at] == nil {
			order = append(order, at)
		}
		wanted[at] = append(wanted[at], object)
	}
	var findings []preflight.Finding
	for _, at := range order {
		resource, err := s.Cluster.Resource(ctx, at.gvk)
		if err != nil {
			return nil, err
		}
		if resource.Empty() {
			continue // k8s.apis says so
		}
		live, err := s.Cluster.ListMetadata(ctx, resource, at.namespace, "")
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", resource.Resource, err)
		}
		findings = append(findings, foreign(wanted[at], live, set)...)
	}
	return findings, nil
}

func foreign(wanted []requirement.Object, live []metav1.PartialObjectMetadata, set *requirement.Set) []preflight.Finding {
	var findings []preflight.Finding
	for _, object := range wanted {
		i := slices.IndexFunc(live, func(o metav1.PartialObjectMetadata) bool { return o.Name == object.GetName() })
		if i < 0 {
			continue
		}
		if owner := kube.OtherOwner(&live[i], set.Release, set.Namespace); owner != "" {
			finding := preflight.Finding{
				Object: chart.Describe(object.Unstructured),
				Found:  fmt.Sprintf("%s exists already, made by %s", chart.Describe(object.Unstructured), owner),
				Why:    "Helm refuses to take over what is somebody else's",
				Fix:    "choose another global.namePrefix or another namespace, or delete it if nobody needs it",
				Value:  "global.namePrefix",
			}
			if object.GetKind() == "Namespace" {
				finding.Value = "global.workspaces.namespace"
				finding.Fix = "to use it as it is, set global.workspaces.createNamespace=false; else name another in global.workspaces.namespace"
			}
			findings = append(findings, finding)
		}
	}
	return findings
}

// Operators says whether an object is one of CloudNativePG's that a cluster holds once.
func Operators(u *unstructured.Unstructured) bool {
	switch u.GetKind() {
	case "CustomResourceDefinition":
		return strings.HasSuffix(u.GetName(), "."+kube.Clusters.Group)
	case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		return strings.HasPrefix(u.GetName(), "cnpg-")
	}
	return false
}

func managed(object metav1.Object) bool {
	return object.GetLabels()[kube.ManagedByLabel] == kube.Helm
}
