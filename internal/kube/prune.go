package kube

import "strings"

// Annotations of ArgoCD and Flux.
const (
	// ArgoTracking is what ArgoCD writes into the objects of an Application.
	ArgoTracking = "argocd.argoproj.io/tracking-id"

	argoOptions = "argocd.argoproj.io/sync-options"
	argoCompare = "argocd.argoproj.io/compare-options"
	fluxPrune   = "kustomize.toolkit.fluxcd.io/prune"
)

// NotPruned are the annotations that an object lacks to be left alone by tools that delete what they take for theirs
// and do not find in a render ("prune"). They look only at the annotations of the object in the cluster, and ArgoCD
// takes for its own what has its label, if it tracks objects by labels. An option that someone has set, such as
// Prune=confirm, stays.
func NotPruned(live map[string]string) map[string]string {
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
	// An Application is not out of sync for it.
	if live[argoCompare] == "" {
		set[argoCompare] = "IgnoreExtraneous"
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

// Annotate is a merge patch of annotations.
func Annotate(annotations map[string]string) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": annotations}}
}
