package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Tools that apply manifests delete what leaves them ("prune"), and look only at the annotations of the object in the
// cluster when they decide. helm.sh/resource-policy, which the definitions have from their chart, does not keep ArgoCD
// from pruning them. With a definition all objects of its kind are deleted, in all namespaces.
const (
	argoOptions = "argocd.argoproj.io/sync-options"
	fluxPrune   = "kustomize.toolkit.fluxcd.io/prune"
)

// Protect marks the operator's CustomResourceDefinitions, as far as they are there, so that no tool deletes them when a
// render no longer contains them. Those of another Helm release are left alone unless this release contains the
// operator. It returns how many it changed.
func Protect(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.OperatorSpec) (int, error) {
	changed := 0
	var errs []error
	for _, name := range spec.Definitions {
		definition, err := client.GetMetadata(ctx, kube.CRDs, "", name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read CustomResourceDefinition %s: %w", name, err))
			continue
		}
		missing := protection(definition.Annotations)
		if len(missing) == 0 || !spec.Bundled && foreign(definition, spec) {
			continue
		}
		if err := client.Merge(ctx, kube.CRDs, "", name, annotate(missing)); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("protect CustomResourceDefinition %s: %w", name, err))
			continue
		}
		changed++
	}
	if changed > 0 {
		log.Info("the operator's CustomResourceDefinitions are marked not to be pruned", "count", changed)
	}
	return changed, errors.Join(errs...)
}

func foreign(definition *metav1.PartialObjectMetadata, spec hook.OperatorSpec) bool {
	return definition.Annotations[kube.ReleaseAnnotation] != "" &&
		kube.OtherOwner(definition, spec.Release, spec.Namespace) != ""
}

// protection are the annotations to set: those that are missing, and a list of options with the missing ones added. An
// option that someone has set, such as Prune=confirm, stays.
func protection(live map[string]string) map[string]string {
	set := map[string]string{}
	options := live[argoOptions]
	for _, option := range []string{"Prune", "Delete"} {
		if !hasOption(options, option) {
			options = strings.TrimPrefix(options+","+option+"=false", ",")
		}
	}
	if options != live[argoOptions] {
		set[argoOptions] = options
	}
	if live[fluxPrune] == "" {
		set[fluxPrune] = "disabled"
	}
	return set
}

func hasOption(options, name string) bool {
	for _, option := range strings.Split(options, ",") {
		key, _, _ := strings.Cut(strings.TrimSpace(option), "=")
		if key == name {
			return true
		}
	}
	return false
}

// annotate is a merge patch of annotations.
func annotate(annotations map[string]string) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": annotations}}
}
