package prepare

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// gate collects what an upgrade must not change.
func (p *Prepare) gate(ctx context.Context) ([]finding.Finding, error) {
	var desired *unstructured.Unstructured
	if manifest := p.Spec.Gate.Manifest; manifest != "" {
		var err error
		if desired, err = database.ReadManifest(manifest); err != nil {
			return nil, err
		}
	}
	return Gate(ctx, p.Client, p.Spec.Namespace, p.Spec.Gate, desired)
}

// Gate collects what an upgrade must not change. What is not there yet can't be changed. desired is the Cluster that
// would be applied, nil where the database is not ours. The error says what could not be compared.
func Gate(ctx context.Context, client *kube.Client, namespace string, spec hook.GateSpec, desired *unstructured.Unstructured) ([]finding.Finding, error) {
	findings, err := fixedValues(ctx, client, namespace, spec)
	unfinished, noteErr := restorenote.Unfinished(ctx, client, namespace, spec.RestoreNote)
	moved, movedErr := sharedVolume(ctx, client, namespace, spec)
	findings, err = slices.Concat(unfinished, findings, moved), errors.Join(err, noteErr, movedErr)
	if desired == nil {
		return findings, err
	}
	kept, keptErr := keptValues(ctx, client, namespace, spec, desired)
	return append(findings, kept...), errors.Join(err, keptErr)
}

// object is what the gate's findings are about.
func object(namespace string, gate hook.GateSpec) string {
	return fmt.Sprintf("release %s in namespace %s", gate.Release, namespace)
}

// fixedValues compares the values that data depends on with those of the installation.
func fixedValues(ctx context.Context, client *kube.Client, namespace string, gate hook.GateSpec) ([]finding.Finding, error) {
	live, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, namespace, gate.ConfigMap)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s in namespace %s: %w", gate.ConfigMap, namespace, err)
	}
	if owner := live.Data["release"]; owner != "" && owner != gate.Release {
		return []finding.Finding{{
			ID: finding.UpgradeRelease, Severity: finding.Error, Object: object(namespace, gate),
			Found: fmt.Sprintf("namespace %s holds release %s already, and two releases can't share one", namespace, owner),
			Fix: fmt.Sprintf("upgrade that one, or install into another namespace; if it was uninstalled, install it under that "+
				"name again, or delete ConfigMap %s, which it left, to leave its data alone", gate.ConfigMap),
		}}, nil
	}
	var findings []finding.Finding
	for _, fixed := range gate.Fixed {
		was, known := live.Data[fixed.Key]
		f := finding.Finding{
			ID: finding.UpgradeRename, Severity: finding.Error, Object: object(namespace, gate), Value: fixed.Setting,
			Found: fmt.Sprintf("%s was %q when the release was installed and would become %q", fixed.Setting, was, fixed.Value),
			Why:   "existing data would be left under the old name",
			Fix:   "restore the old value, or, if that is meant, --set global.upgrade.allowRenames=true",
		}
		if fixed.Secret {
			f.ID = finding.UpgradeSecret
			f.Found = fmt.Sprintf("%s would replace Secret %s by %s", fixed.Setting, was, fixed.Value)
			f.Why = "with other keys in it, stored credentials can't be read any more and everybody is logged out"
			f.Fix = "set it back, or, if both hold the same keys or the loss is meant, --set global.upgrade.allowSecretChanges=true"
		}
		allowed := fixed.Secret && gate.Allow.SecretChanges || !fixed.Secret && gate.Allow.Renames
		if !known || was == fixed.Value || allowed {
			continue
		}
		findings = append(findings, f)
	}
	return findings, nil
}

// keptValues says what of the database's values could not take effect.
func keptValues(ctx context.Context, client *kube.Client, namespace string, gate hook.GateSpec, desired *unstructured.Unstructured) ([]finding.Finding, error) {
	live, err := client.Resource(kube.Clusters, namespace).Get(ctx, desired.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Cluster %s in namespace %s: %w", desired.GetName(), namespace, err)
	}
	if database.ServicesStopped(live) && !gate.Allow.MajorUpgrade {
		return []finding.Finding{halfMajor(namespace, gate)}, nil
	}
	if gate.Allow.KeptValues {
		return nil, nil
	}
	_, kept, err := database.KeepLive(desired, live)
	if err != nil {
		return finding.Of(err), nil
	}
	var findings []finding.Finding
	if from, to := database.RaisesMajor(desired, live); to > 0 && !gate.DefaultImage && !gate.Allow.MajorUpgrade {
		findings = append(findings, majorUpgrade(object(namespace, gate), from, to))
	}
	for _, k := range kept {
		findings = append(findings, finding.Finding{
			ID: finding.UpgradeDatabaseValues, Severity: finding.Error, Object: object(namespace, gate), Value: "global.database",
			Found: "the database can't follow its values: " + k,
			Fix: "fix the values below global.database or global.images.postgresql, or continue without that change " +
				"by --set global.upgrade.allowKeptValues=true",
		})
	}
	return findings, nil
}

// otherDatabase asks whether an installed release would use an external database that is empty: it is then another one
// than before, since the hook migrates a database before anything else of a release exists.
func (p *Prepare) otherDatabase(ctx context.Context, db found) ([]finding.Finding, error) {
	gate := p.Spec.Gate
	if p.Spec.Migrate.External == nil || !db.answers || !db.state.Empty || gate.Allow.Renames {
		return nil, nil
	}
	live, err := kube.Get[corev1.ConfigMap](ctx, p.Client, kube.ConfigMaps, p.Spec.Namespace, gate.ConfigMap)
	if apierrors.IsNotFound(err) || err == nil && live.Data["release"] != gate.Release {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s in namespace %s: %w", gate.ConfigMap, p.Spec.Namespace, err)
	}
	return []finding.Finding{{
		ID: finding.UpgradeRename, Severity: finding.Error, Object: object(p.Spec.Namespace, gate),
		Value: "global.database.external",
		Found: "the external database is empty, and the release has been installed before",
		Why:   "existing data would be left in the previous database",
		Fix: "restore the previous address, or move the data to the new database first; for an empty start " +
			"--set global.upgrade.allowRenames=true",
	}}, nil
}
