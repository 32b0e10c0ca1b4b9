package requirement

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// podSecurity finds the strictest level that admits every pod of a namespace, by the rules of admission itself.
func (d *derivation) podSecurity() error {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return fmt.Errorf("rules of pod security: %w", err)
	}
	levels := []api.Level{api.LevelRestricted, api.LevelBaseline, api.LevelPrivileged}
	needs := map[string]*PodSecurity{}
	rank := map[string]int{}
	for _, pod := range d.set.Pods {
		needed := slices.IndexFunc(levels, func(level api.Level) bool {
			results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, &pod.Spec)
			return policy.AggregateCheckResults(results).Allowed
		})
		need := needs[pod.Namespace]
		if need == nil {
			need = &PodSecurity{Namespace: pod.Namespace, Level: string(levels[needed])}
			needs[pod.Namespace], rank[pod.Namespace] = need, needed
		}
		switch {
		case needed > rank[pod.Namespace]:
			need.Level, need.Pods, rank[pod.Namespace] = string(levels[needed]), []string{pod.Owner}, needed
		case needed == rank[pod.Namespace] && !slices.Contains(need.Pods, pod.Owner):
			need.Pods = append(need.Pods, pod.Owner)
		}
	}
	for _, namespace := range slices.Compact([]string{d.set.Namespace, d.set.Workspaces}) {
		need := needs[namespace]
		if need == nil {
			continue
		}
		need.Created = namespace == d.set.Workspaces && d.set.WorkspacesCreated
		for _, known := range d.set.Prepare.Guard.PodSecurity {
			if known.Namespace == namespace {
				need.Value = known.Value
			}
		}
		d.set.PodSecurity = append(d.set.PodSecurity, *need)
	}
	return nil
}
