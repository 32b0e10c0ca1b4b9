package prepare

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/guard"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// gate collects what an upgrade must not change.
func (p *Prepare) gate(ctx context.Context) []error {
	var desired *unstructured.Unstructured
	if manifest := p.Spec.Gate.Manifest; manifest != "" {
		var err error
		if desired, err = database.ReadManifest(manifest); err != nil {
			return []error{err}
		}
	}
	return Gate(ctx, p.Client, p.Spec.Namespace, p.Spec.Gate, desired)
}

// Gate collects what an upgrade must not change. What is not there yet can't be changed. desired is the Cluster that
// would be applied, nil where the database is not ours. Of the errors, those that a person must do something about are
// guard.Problems.
func Gate(ctx context.Context, client *kube.Client, namespace string, spec hook.GateSpec, desired *unstructured.Unstructured) []error {
	errs := fixedValues(ctx, client, namespace, spec)
	if desired == nil || spec.Allow.KeptValues {
		return errs
	}
	return append(errs, keptValues(ctx, client, namespace, desired)...)
}

func problemf(format string, args ...any) error { return guard.Problem(fmt.Sprintf(format, args...)) }

// fixedValues compares the values that data hangs on with those of the installation.
func fixedValues(ctx context.Context, client *kube.Client, namespace string, gate hook.GateSpec) []error {
	live, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, namespace, gate.ConfigMap)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return []error{fmt.Errorf("read ConfigMap %s in namespace %s: %w", gate.ConfigMap, namespace, err)}
	}
	if owner := live.Data["release"]; owner != "" && owner != gate.Release {
		return []error{problemf("namespace %s holds release %s already, and two releases can't share one: upgrade that one, or install into another namespace", namespace, owner)}
	}
	var errs []error
	for _, fixed := range gate.Fixed {
		was, known := live.Data[fixed.Key]
		switch {
		case !known || was == fixed.Value:
		case fixed.Secret && !gate.Allow.SecretChanges:
			errs = append(errs, problemf("%s would replace Secret %s by %s: with other keys in it, stored credentials can't be read any more and everybody is logged out; set it back, or, if both hold the same keys or the loss is meant, --set global.upgrade.allowSecretChanges=true", fixed.Setting, was, fixed.Value))
		case !fixed.Secret && !gate.Allow.Renames:
			errs = append(errs, problemf("%s was %q when the release was installed and would become %q: the data of before would stay behind under the old name; set it back, or, if that is meant, --set global.upgrade.allowRenames=true", fixed.Setting, was, fixed.Value))
		}
	}
	return errs
}

// keptValues says what of the database's values could not take effect.
func keptValues(ctx context.Context, client *kube.Client, namespace string, desired *unstructured.Unstructured) []error {
	live, err := client.Resource(kube.Clusters, namespace).Get(ctx, desired.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return []error{fmt.Errorf("read Cluster %s in namespace %s: %w", desired.GetName(), namespace, err)}
	}
	_, kept, err := database.KeepLive(desired, live)
	if err != nil {
		return []error{guard.Problem(err.Error())}
	}
	var errs []error
	for _, k := range kept {
		errs = append(errs, problemf("the database can't follow its values: %s; mend the values below global.database or global.images.postgresql, or go on without that change by --set global.upgrade.allowKeptValues=true", k))
	}
	return errs
}
