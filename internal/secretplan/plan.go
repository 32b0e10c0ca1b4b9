// Package secretplan reads what the chart says about the Secrets of a release: which there are, what reads them, and
// what can be rotated. No value is part of it.
package secretplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// File is the key of the ConfigMap that holds a Plan.
const File = "secrets-plan.yaml"

// Rotations whose Job changes the database.
const (
	CredentialKey = "credential-key"
	Admin         = "admin"
)

const instanceLabel = "app.kubernetes.io/instance"

// Plan is what the chart says about the Secrets of a release.
type Plan struct {
	Release string `json:"release"`
	// Chart is the name and the version of the chart that says so.
	Chart   string           `json:"chart"`
	Secrets hook.SecretsSpec `json:"secrets"`
	// Restart are the Deployments that are restarted when a Secret of theirs has changed.
	Restart []string `json:"restart"`
	// Record is the Secret that remembers by which values they have started.
	Record string `json:"record"`
	// RestoreNote is the ConfigMap that is there while a restore has not ended.
	RestoreNote string `json:"restoreNote"`
	// Rotations are what can be rotated, by name.
	Rotations map[string]Rotation `json:"rotations"`
	// Job is what changes the database for those rotations that need it. Its arguments lack the name of the rotation.
	Job *batchv1.Job `json:"job,omitempty"`
	// Keyring is the Secret that has the old and the new encryption key until a rotation of it has ended.
	Keyring string `json:"keyring,omitempty"`
}

// Labels are those of what a rotation of the release creates.
func (p Plan) Labels() map[string]string {
	return map[string]string{"app.kubernetes.io/part-of": "neutree", instanceLabel: p.Release}
}

// Rotation is what one rotation replaces: keys of one Secret, so that one write replaces all.
type Rotation struct {
	Secret string   `json:"secret"`
	Keys   []string `json:"keys"`
}

// Refs are its keys as references.
func (r Rotation) Refs() []hook.SecretRef {
	var refs []hook.SecretRef
	for _, key := range r.Keys {
		refs = append(refs, hook.SecretRef{Secret: r.Secret, Key: key})
	}
	return refs
}

// Secret is what the plan says about the Secret called name.
func (p Plan) Secret(name string) (hook.Secret, bool) {
	i := slices.IndexFunc(p.Secrets.Secrets, func(s hook.Secret) bool { return s.Name == name })
	if i < 0 {
		return hook.Secret{}, false
	}
	return p.Secrets.Secrets[i], true
}

// RotationOf is the name of the rotation that replaces a key, "" for none.
func (p Plan) RotationOf(ref hook.SecretRef) string {
	for _, name := range slices.Sorted(maps.Keys(p.Rotations)) {
		if slices.Contains(p.Rotations[name].Refs(), ref) {
			return name
		}
	}
	return ""
}

// Validate reports what the plan lacks.
func (p Plan) Validate() error {
	if p.Release == "" || p.Record == "" || p.Secrets.Namespace == "" || len(p.Restart) == 0 {
		return errors.New("release, record, secrets.namespace or restart is empty")
	}
	if job := p.Job; job != nil &&
		(job.Kind != "Job" || job.Name == "" || len(job.Spec.Template.Spec.Containers) != 1 || p.Keyring == "") {
		return errors.New("job must be a Job with a name and one container, and keyring a name")
	}
	for name, rotation := range p.Rotations {
		if p.Job == nil && (name == CredentialKey || name == Admin) {
			return fmt.Errorf("job is empty, and rotations.%s needs it", name)
		}
		s, known := p.Secret(rotation.Secret)
		if !known || len(rotation.Keys) == 0 {
			return fmt.Errorf("rotations.%s names no key of a Secret in secrets", name)
		}
		for _, key := range rotation.Keys {
			if data, has := s.Data[key]; !has || !s.Existing && data.Generate == nil {
				return fmt.Errorf("rotations.%s: the key %s of Secret %s is not made at random", name, key, s.Name)
			}
		}
	}
	return nil
}

// Find reads the plan of the release in namespace. With several, release names one.
func Find(ctx context.Context, client *kube.Client, namespace, release string) (Plan, error) {
	selector := "app.kubernetes.io/part-of=neutree,app.kubernetes.io/component=secrets"
	if release != "" {
		selector += "," + instanceLabel + "=" + release
	}
	found := map[string]corev1.ConfigMap{}
	err := kube.Each(ctx, client, kube.ConfigMaps, namespace, metav1.ListOptions{LabelSelector: selector},
		func(config *corev1.ConfigMap) {
			if _, has := config.Data[File]; has {
				found[config.Labels[instanceLabel]] = *config
			}
		})
	if err != nil {
		return Plan{}, kube.Refused(err, "look for the release in namespace %s", namespace)
	}
	names := slices.Sorted(maps.Keys(found))
	if len(names) > 1 {
		return Plan{}, hook.Refusef(finding.SecretsRelease, "choose one with --release, of "+strings.Join(names, ", "),
			"namespace %s has several releases", namespace)
	}
	if len(names) == 0 {
		what := "no release"
		if release != "" {
			what = "no release " + release
		}
		return Plan{}, hook.Refusef(finding.SecretsRelease,
			"name its namespace with --namespace; if it is the right one, upgrade the release to this version of the chart "+
				"first",
			"namespace %s has %s that says which Secrets it has", namespace, what)
	}
	config := found[names[0]]
	var plan Plan
	if err := yaml.UnmarshalStrict([]byte(config.Data[File]), &plan); err != nil {
		return Plan{}, misfit(&config, err)
	}
	if err := plan.Validate(); err != nil {
		return Plan{}, misfit(&config, err)
	}
	return plan, nil
}

// misfit refuses the plan of another version of the chart.
func misfit(config *corev1.ConfigMap, err error) error {
	return hook.Refusef(finding.SecretsRelease, "use the plugin of the chart's version",
		"ConfigMap %s in namespace %s does not fit this version of the plugin (%v)", config.Name, config.Namespace, err)
}
