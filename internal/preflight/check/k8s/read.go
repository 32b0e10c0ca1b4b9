// Package k8s checks whether the API server is one that the release can be installed on.
package k8s

import (
	"context"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return []preflight.Check{
		{ID: "k8s.version", Title: "The version of Kubernetes suits the chart and the database's operator", Needs: preflight.Cluster, Severity: preflight.Error, Run: checkVersion},
		{ID: "k8s.apis", Title: "The API server knows every kind of object that is made", Needs: preflight.Cluster, Severity: preflight.Error, Run: checkAPIs},
	}
}

func checkVersion(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	info, err := s.Cluster.Version(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the version of Kubernetes: %w", err)
	}
	return versions(info.GitVersion, s.Requirements)
}

func versions(running string, set *requirement.Set) ([]preflight.Finding, error) {
	parsed, err := version.ParseGeneric(running)
	if err != nil {
		return nil, fmt.Errorf("the API server says that it is version %q: %w", running, err)
	}
	// A vendor's suffix, as in v1.34.1-gke.5, is no version before 1.34.1.
	plain := fmt.Sprintf("v%d.%d.%d", parsed.Major(), parsed.Minor(), parsed.Patch())
	if want := set.Chart.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, plain) {
		return []preflight.Finding{{
			Found: fmt.Sprintf("the cluster runs Kubernetes %s, chart %s %s needs %s", running, set.Chart.Name, set.Chart.Version, want),
			Why:   "Helm refuses the install", Fix: "upgrade Kubernetes",
		}}, nil
	}
	if !set.Operator.Bundled {
		return nil, nil
	}
	tested := version.MustParseGeneric(platform.OperatorKubernetes)
	if parsed.LessThan(tested) {
		return []preflight.Finding{{
			Severity: preflight.Warning, Value: "cloudnative-pg.enabled",
			Found: fmt.Sprintf("the cluster runs Kubernetes %s, and %s is the oldest that the bundled CloudNativePG operator is tested with", running, platform.OperatorKubernetes),
			Why:   "the operator may work there, but nobody promises it",
			Fix:   "upgrade Kubernetes soon, or run an operator of an older version and set cloudnative-pg.enabled=false",
		}}, nil
	}
	return nil, nil
}

func checkAPIs(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	for _, api := range s.Requirements.APIs {
		if api.Brought {
			continue
		}
		served, err := s.Cluster.Serves(ctx, api.GroupVersionKind)
		if err != nil {
			return nil, fmt.Errorf("ask which kinds the API server knows: %w", err)
		}
		if !served {
			findings = append(findings, missing(api))
		}
	}
	return findings, nil
}

func missing(api requirement.API) preflight.Finding {
	finding := preflight.Finding{
		Object: api.Kind, Value: api.Value,
		Found: fmt.Sprintf("the API server does not know %s of %s, which %s makes", api.Kind, api.GroupVersion(), api.Source),
		Why:   "Helm refuses the whole release before it makes anything",
		Fix:   "install what brings its CustomResourceDefinition",
	}
	for group, what := range map[string]string{
		"gateway.networking.k8s.io":    "the Gateway API (its standard channel, 1.2 or newer) and a controller of it",
		"monitoring.coreos.com":        "the Prometheus operator",
		"postgresql.cnpg.io":           "CloudNativePG",
		"snapshot.storage.k8s.io":      "the CSI snapshot controller with its CustomResourceDefinitions",
		"cert-manager.io":              "cert-manager",
		"networking.k8s.io":            "a newer Kubernetes",
		"policy":                       "a newer Kubernetes",
		"autoscaling":                  "a newer Kubernetes",
		"admissionregistration.k8s.io": "a newer Kubernetes",
	} {
		if api.Group == group {
			finding.Fix = "install " + what
		}
	}
	if value := strings.TrimSpace(api.Value); value != "" {
		finding.Fix += ", or change " + value
	}
	return finding
}
