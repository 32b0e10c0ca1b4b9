// Package secrets checks the Secrets that the user gives, and that those of a running release stay as they are.
package secrets

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/secret"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return []preflight.Check{
		{ID: "secrets.given", Title: "Secrets exist where they must, with all keys, long enough and no placeholders", Needs: preflight.Cluster, Severity: preflight.Error, Run: given},
		{ID: "secrets.unchanged", Title: "The keys of the running release stay the same", Needs: preflight.Cluster, Severity: preflight.Error, Run: unchanged},
	}
}

func given(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	for _, wanted := range s.Requirements.Secrets {
		live, err := s.Cluster.Secret(ctx, wanted.Namespace, wanted.Name)
		if err != nil {
			return nil, fmt.Errorf("read Secret %s/%s: %w", wanted.Namespace, wanted.Name, err)
		}
		for _, problem := range secret.Problems(wanted.Secret, wanted.Namespace, live, s.Options.Upgrade) {
			problem.Value, problem.Why = wanted.Value, "the install is refused before anything is made"
			findings = append(findings, problem)
		}
	}
	return findings, nil
}

// unchanged compares what running services read with what they would read.
func unchanged(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	name := set.Prefix + "-cp"
	deployment, err := s.Cluster.Get(ctx, kube.Deployments, set.Namespace, name)
	if err != nil {
		return nil, fmt.Errorf("read Deployment %s/%s: %w", set.Namespace, name, err)
	}
	if deployment == nil {
		return nil, nil
	}
	would := reads(set)
	running := references(deployment)
	var findings []preflight.Finding
	for _, env := range slices.Sorted(maps.Keys(running)) {
		from, to := running[env], would[env]
		if to == (reference{}) || from == to {
			continue
		}
		old, err := value(ctx, s, from)
		if err != nil {
			return nil, err
		}
		next, err := value(ctx, s, to)
		if err != nil {
			return nil, err
		}
		if old == nil || bytes.Equal(old, next) {
			continue
		}
		findings = append(findings, changed(env, from, to, set))
	}
	return findings, nil
}

// reference is one key of one Secret.
type reference struct{ secret, key string }

func (r reference) String() string { return fmt.Sprintf("key %s of Secret %s", r.key, r.secret) }

func changed(env string, from, to reference, set *requirement.Set) preflight.Finding {
	finding := preflight.Finding{
		Object: fmt.Sprintf("Secret %s/%s", set.Namespace, to.secret), Value: "global.secrets.existingSecret", Severity: preflight.Warning,
		Found: fmt.Sprintf("%s comes from %s now and would come from %s, which holds another value or none", env, from, to),
		Why:   "everybody is logged out, and machines that hold the old one are refused",
		Fix:   fmt.Sprintf("copy the value of %s there", from),
	}
	if env == "CREDENTIAL_ENCRYPTION_KEY" {
		finding.Severity = preflight.Error
		finding.Why = "what users stored as credentials can't be read any more, by nobody"
	}
	return finding
}

// reads are the Secrets that the control plane of the rendered release reads, by variable.
func reads(set *requirement.Set) map[string]reference {
	for _, object := range set.Objects {
		if object.GetKind() == "Deployment" && object.GetNamespace() == set.Namespace && object.GetName() == set.Prefix+"-cp" {
			return references(object.Unstructured)
		}
	}
	return nil
}

func references(deployment *unstructured.Unstructured) map[string]reference {
	found := map[string]reference{}
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	for _, c := range containers {
		container, _ := c.(map[string]any)
		env, _, _ := unstructured.NestedSlice(container, "env")
		for _, e := range env {
			variable, _ := e.(map[string]any)
			name, _, _ := unstructured.NestedString(variable, "name")
			secret, _, _ := unstructured.NestedString(variable, "valueFrom", "secretKeyRef", "name")
			key, _, _ := unstructured.NestedString(variable, "valueFrom", "secretKeyRef", "key")
			if secret != "" && slices.Contains([]string{"JWT_SECRET", "CREDENTIAL_ENCRYPTION_KEY", "PLATFORM_SERVICE_KEY"}, name) {
				found[name] = reference{secret, key}
			}
		}
	}
	return found
}

func value(ctx context.Context, s *preflight.Subject, r reference) ([]byte, error) {
	live, err := s.Cluster.Secret(ctx, s.Requirements.Namespace, r.secret)
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", s.Requirements.Namespace, r.secret, err)
	}
	if live == nil {
		return nil, nil
	}
	return live.Data[r.key], nil
}
