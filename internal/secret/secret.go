// Package secret makes the Secrets of a release once, and changes what they hold only where a rotation asks for it.
package secret

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Result counts what a run did with Secrets.
type Result struct {
	Created, Completed, Kept, Checked int
}

// String sums the result up in one sentence, without any value.
func (r Result) String() string {
	return fmt.Sprintf("Secrets: %d created, %d completed, %d kept, %d given by the user and checked", r.Created, r.Completed, r.Kept, r.Checked)
}

// attempts bounds how often a Secret is read again because somebody else changed it meanwhile.
const attempts = 10

// keeper works on the Secrets of one namespace.
type keeper struct {
	api       kube.Objects
	log       *slog.Logger
	namespace string
	result    Result
}

// Ensure brings the Secrets to what spec says. api must be the Secrets of the spec's namespace.
// Everything that can be refused without a write is refused before the first one.
func Ensure(ctx context.Context, log *slog.Logger, api kube.Objects, spec hook.SecretsSpec) (Result, error) {
	if err := validate(spec); err != nil {
		return Result{}, err
	}
	k := &keeper{api: api, log: log, namespace: spec.Namespace}
	problems, err := k.checkAll(ctx, spec)
	if err != nil {
		return k.result, err
	}
	if len(problems) > 0 {
		return k.result, hook.Refuse(problems...)
	}
	// A derived value reads other Secrets of the list, so those that have one come last.
	ordered := slices.Clone(spec.Secrets)
	slices.SortStableFunc(ordered, func(a, b hook.Secret) int { return cmp.Compare(rank(a), rank(b)) })
	for _, s := range ordered {
		if s.Existing {
			k.result.Checked++
			continue
		}
		if err := k.ensure(ctx, s); err != nil {
			return k.result, err
		}
	}
	return k.result, nil
}

// Check finds out, without a write, what Ensure would refuse.
func Check(ctx context.Context, log *slog.Logger, api kube.Objects, spec hook.SecretsSpec) ([]finding.Finding, error) {
	if err := validate(spec); err != nil {
		return nil, err
	}
	return (&keeper{api: api, log: log, namespace: spec.Namespace}).checkAll(ctx, spec)
}

// Derive is the value that Ensure would give a derived key, made without a write: "" where Ensure would refuse what it
// follows from. It says whether spec derives that key at all.
func Derive(ctx context.Context, log *slog.Logger, api kube.Objects, spec hook.SecretsSpec,
	ref hook.SecretRef) (value string, derived bool, err error) {
	k := &keeper{api: api, log: log, namespace: spec.Namespace}
	for _, s := range spec.Secrets {
		key := s.Data[ref.Key]
		if s.Name != ref.Secret || !key.Derived() {
			continue
		}
		value, err := k.value(ctx, key)
		if hook.CodeOf(err) == hook.Refused {
			return "", true, nil
		}
		return value, true, err
	}
	return "", false, nil
}

// checkAll returns what forbids to continue. Of the rest it warns.
func (k *keeper) checkAll(ctx context.Context, spec hook.SecretsSpec) ([]finding.Finding, error) {
	live := map[string]*corev1.Secret{}
	for _, s := range spec.Secrets {
		var err error
		if live[s.Name], err = k.get(ctx, s.Name); err != nil {
			return nil, err
		}
	}
	var problems []finding.Finding
	for _, f := range Problems(spec, live) {
		if f.Severity != finding.Error {
			k.log.Warn(f.Sentence())
			continue
		}
		problems = append(problems, f)
	}
	return problems, nil
}

func rank(s hook.Secret) int {
	for _, key := range s.Data {
		if key.Derived() {
			return 1
		}
	}
	return 0
}

// get returns nil where there is no such Secret.
func (k *keeper) get(ctx context.Context, name string) (*corev1.Secret, error) {
	u, err := k.api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, k.apiError("read", name, err)
	}
	var secret corev1.Secret
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &secret); err != nil {
		return nil, fmt.Errorf("read Secret %s: it does not decode", k.name(name))
	}
	return &secret, nil
}

// ensure creates s or adds what it lacks.
func (k *keeper) ensure(ctx context.Context, s hook.Secret) error {
	for range attempts {
		current, err := k.get(ctx, s.Name)
		if err != nil {
			return err
		}
		again, err := k.step(ctx, s, current)
		if !again || err != nil {
			return err
		}
	}
	return fmt.Errorf("the Secret %s was changed by somebody else %d times while it was being written", k.name(s.Name), attempts)
}

// step does one write, if one is needed. It asks for another try when somebody else was faster.
func (k *keeper) step(ctx context.Context, s hook.Secret, current *corev1.Secret) (again bool, err error) {
	next := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: s.Name, Namespace: k.namespace,
		Labels:      map[string]string{kube.ManagedByLabel: kube.FieldManager},
		Annotations: map[string]string{"helm.sh/resource-policy": "keep"},
	}, Type: corev1.SecretType(cmp.Or(s.Type, string(corev1.SecretTypeOpaque)))}
	if current != nil {
		next = current.DeepCopy()
	} else if s.Authority != "" {
		if next.Data, err = Authority(s.Authority, k.namespace, time.Now()); err != nil {
			return false, err
		}
	}
	added, err := k.fill(ctx, s, next)
	if err != nil {
		return false, err
	}
	next.Labels = merge(next.Labels, s.Labels)
	// By this label ArgoCD may take it for an Application's.
	if next.Labels["app.kubernetes.io/instance"] != "" {
		next.Annotations = merge(next.Annotations, kube.NotPruned(next.Annotations))
	}
	if current == nil {
		return k.create(ctx, next)
	}
	if len(added) == 0 && maps.Equal(current.Labels, next.Labels) && maps.Equal(current.Annotations, next.Annotations) {
		k.result.Kept++
		return false, nil
	}
	if len(added) > 0 && immutable(current) {
		return false, k.refuseImmutable(s.Name, "lacks the right value of "+list(added))
	}
	return k.update(ctx, next, added)
}

// fill sets the keys that next lacks, and the derived ones that differ. It returns their names.
func (k *keeper) fill(ctx context.Context, s hook.Secret, next *corev1.Secret) (changed []string, err error) {
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Data)) {
		key := s.Data[name]
		old, has := next.Data[name]
		if has && !key.Derived() {
			if key.Value != "" && string(old) != key.Value {
				k.log.Warn("the Secret keeps its value, though the chart's values name another: what was set up with it would not follow", "name", s.Name, "key", name)
			}
			continue
		}
		value, err := k.value(ctx, key)
		if err != nil {
			return nil, err
		}
		if !has || string(old) != value {
			next.Data[name] = []byte(value)
			changed = append(changed, name)
		}
	}
	return changed, nil
}

func (k *keeper) value(ctx context.Context, key hook.SecretKey) (string, error) {
	switch {
	case key.PostgresURL != nil:
		return k.postgresURL(ctx, *key.PostgresURL)
	case key.File != nil:
		return k.file(ctx, *key.File)
	case key.Generate != nil:
		return Random(*key.Generate)
	}
	return key.Value, nil
}

func (k *keeper) create(ctx context.Context, secret *corev1.Secret) (again bool, err error) {
	u, err := unstructuredOf(secret)
	if err != nil {
		return false, err
	}
	_, err = k.api.Create(ctx, u, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		return true, nil
	}
	if err != nil {
		return false, k.apiError("create", secret.Name, err)
	}
	k.result.Created++
	k.log.Info("created a Secret", "name", secret.Name, "keys", slices.Sorted(maps.Keys(secret.Data)))
	return false, nil
}

// update writes a Secret of which keys have changed.
func (k *keeper) update(ctx context.Context, secret *corev1.Secret, changed []string) (again bool, err error) {
	if again, err = k.write(ctx, secret); again || err != nil {
		return again, err
	}
	k.result.Completed++
	k.log.Info("completed a Secret", "name", secret.Name, "keys", changed)
	return false, nil
}

// write replaces secret if no one changed it since it was read: its resourceVersion goes along.
func (k *keeper) write(ctx context.Context, secret *corev1.Secret) (again bool, err error) {
	u, err := unstructuredOf(secret)
	if err != nil {
		return false, err
	}
	_, err = k.api.Update(ctx, u, metav1.UpdateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, k.apiError("update", secret.Name, err)
	}
	return false, nil
}

func unstructuredOf(secret *corev1.Secret) (*unstructured.Unstructured, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(secret)
	if err != nil {
		return nil, fmt.Errorf("encode Secret %s: it does not convert", secret.Name)
	}
	u := &unstructured.Unstructured{Object: object}
	u.SetAPIVersion("v1")
	u.SetKind("Secret")
	return u, nil
}

// apiError explains a refusal of the API server. Only its words about rights and rules are passed
// on: others could repeat what was sent.
func (k *keeper) apiError(verb, name string, err error) error {
	what := fmt.Sprintf("cannot %s the Secret %s", verb, k.name(name))
	if kube.Permanent(err) && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) {
		return k.refuse(finding.AdmissionPolicy, name, fmt.Sprintf("%s: the API server finds it invalid (%s)", what, fields(err)), "")
	}
	if kube.Permanent(err) {
		return kube.Refused(err, "%s", what)
	}
	return fmt.Errorf("%s the Secret %s: %s", verb, k.name(name), kube.Brief(err))
}

// refuse is the error of a finding about a Secret.
func (k *keeper) refuse(id finding.ID, name, found, fix string) error {
	return hook.Refuse(finding.Finding{ID: id, Severity: finding.Error, Object: "Secret " + k.name(name), Found: found, Fix: fix})
}

func immutable(secret *corev1.Secret) bool { return secret.Immutable != nil && *secret.Immutable }

// refuseImmutable is the error of a Secret that would have to be written. why completes "the Secret is immutable and …".
func (k *keeper) refuseImmutable(name, why string) error {
	return k.refuse(finding.SecretsImmutable, name, fmt.Sprintf("the Secret %s is immutable and %s", k.name(name), why),
		"put a copy of it that is not immutable in its place")
}

// fields names the fields that the API server complains of.
func fields(err error) string {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return string(apierrors.ReasonForError(err))
	}
	var names []string
	for _, cause := range status.Status().Details.Causes {
		names = append(names, cause.Field)
	}
	return cmp.Or(strings.Join(names, ", "), string(apierrors.ReasonForError(err)))
}

func (k *keeper) name(secret string) string { return k.namespace + "/" + secret }

func merge(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}
