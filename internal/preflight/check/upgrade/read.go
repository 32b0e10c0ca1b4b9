// Package upgrade checks whether what would be installed can follow what is installed.
package upgrade

import (
	"context"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/prepare"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return []preflight.Check{{
		ID: "upgrade.path", Title: "The installed release can become this one", Needs: preflight.Cluster, Severity: preflight.Error,
		Applies: installed, Run: path,
	}}
}

func installed(s *preflight.Subject) (bool, string) {
	return s.Options.Upgrade, "the release is not installed yet"
}

// path asks what the hook before an upgrade asks, and compares the charts' versions.
func path(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	gate := set.Prepare.Gate
	findings, err := prepare.Gate(ctx, s.Cluster.Untyped, set.Namespace, gate, cluster(set))
	if err != nil {
		return nil, err
	}
	unencrypted, err := plaintext(ctx, s)
	if err != nil {
		return preflight.Refused(findings), err
	}
	findings = append(preflight.Refused(findings), unencrypted...)
	live, err := s.Cluster.Get(ctx, kube.ConfigMaps, set.Namespace, gate.ConfigMap)
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s/%s: %w", set.Namespace, gate.ConfigMap, err)
	}
	if live != nil {
		findings = append(findings, backwards(live.GetLabels()["helm.sh/chart"], set)...)
	}
	return findings, nil
}

// plaintext warns of a database that admits connections without TLS although no service connects so any more.
func plaintext(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set, desired := s.Requirements, cluster(s.Requirements)
	if desired == nil {
		return nil, nil
	}
	live, err := s.Cluster.Get(ctx, kube.Clusters, set.Namespace, desired.GetName())
	if err != nil {
		return nil, fmt.Errorf("read Cluster %s/%s: %w", set.Namespace, desired.GetName(), err)
	}
	if !database.StaysPlaintext(desired, live) {
		return nil, nil
	}
	user, err := prepare.WithoutTLS(ctx, s.Cluster.Untyped, set.Prepare)
	if user != "" || err != nil {
		return nil, err
	}
	return []preflight.Finding{{
		Object: fmt.Sprintf("Cluster %s/%s", set.Namespace, desired.GetName()), Severity: preflight.Warning,
		Value: "global.database.cnpg.requireTLS", Found: database.PlaintextStays, Fix: database.PlaintextFix,
		Why: "what a client without TLS sends and reads, the login included, can be read on the network",
	}}, nil
}

// cluster is the Cluster that would be applied, nil where the database is not ours.
func cluster(set *requirement.Set) *unstructured.Unstructured {
	for _, object := range set.Objects {
		if object.By == requirement.Bootstrap && object.GetKind() == "Cluster" {
			return object.Unstructured
		}
	}
	return nil
}

// backwards compares the version of the chart that is installed, as its label has it, with that of the new one.
func backwards(label string, set *requirement.Set) []preflight.Finding {
	text := strings.ReplaceAll(strings.TrimPrefix(label, set.Chart.Name+"-"), "_", "+")
	was, err := semver.StrictNewVersion(text)
	if err != nil {
		return nil
	}
	now, err := semver.StrictNewVersion(set.Chart.Version)
	if err != nil || !now.LessThan(was) {
		return nil
	}
	return []preflight.Finding{{
		Object: fmt.Sprintf("release %s in namespace %s", set.Release, set.Namespace), Severity: preflight.Warning,
		Found: fmt.Sprintf("chart %s %s is older than %s, which is installed", set.Chart.Name, now, was),
		Why:   "its services may not know the database as it is by now; the hook before the upgrade refuses that",
		Fix:   fmt.Sprintf("take chart %s or newer, or go back to a revision that ran: helm rollback %s REVISION --namespace %s", was, set.Release, set.Namespace),
	}}
}
