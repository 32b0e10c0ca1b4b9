package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// quotas looks at whether everything together fits, and then at what the API server says to each pod and object alone.
func quotas(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	for _, namespace := range namespaces(s.Requirements) {
		found, err := compare(ctx, s, namespace)
		if err != nil {
			return findings, err
		}
		findings = append(findings, found...)
	}
	pods, err := tryPods(ctx, s)
	if err != nil {
		return findings, err
	}
	objects, err := tryObjects(ctx, s)
	if err != nil {
		return findings, err
	}
	findings = append(findings, exceeded("a pod of ", pods, findings)...)
	findings = append(findings, exceeded("", objects, findings)...)
	if slices.ContainsFunc(findings, func(f preflight.Finding) bool { return f.Severity == preflight.Unset }) {
		return findings, nil
	}
	for _, t := range slices.Concat(pods, objects) {
		if classify(t.err) == noNamespace {
			return findings, errors.New(missingNamespace(t))
		}
	}
	// An object that was refused for another reason is named by the check of that reason.
	objects = slices.DeleteFunc(slices.Clone(objects), func(t trial) bool {
		return classify(t.err) != noRight
	})
	return findings, errors.Join(unjudged("pods of ", pods, quota), unjudged("", objects, quota))
}

// compare finds the quotas of a namespace that leave less than the release takes.
func compare(ctx context.Context, s *preflight.Subject, namespace string) ([]preflight.Finding, error) {
	at, err := s.TrialNamespace(ctx, namespace)
	var untried *preflight.Untried
	switch {
	case errors.As(err, &untried):
		return nil, nil // the pods that can't be tried say so
	case err != nil:
		return nil, err
	}
	list, err := kube.List[corev1.ResourceQuota](ctx, s.Cluster.Untyped, kube.ResourceQuotas, at, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the ResourceQuotas in namespace %s: %w", namespace, err)
	}
	var findings []preflight.Finding
	limited := map[corev1.ResourceName]bool{}
	list = slices.DeleteFunc(list, func(quota corev1.ResourceQuota) bool {
		if len(quota.Spec.Scopes) == 0 && quota.Spec.ScopeSelector == nil {
			for name := range quota.Status.Hard {
				limited[name] = true
			}
			return false
		}
		findings = append(findings, preflight.Finding{
			Object: object(&quota), Severity: preflight.Note,
			Found: fmt.Sprintf("quota %s in namespace %s counts only pods of its scopes: whether all of them fit together was "+
				"not checked", quota.Name, namespace),
		})
		return true
	})
	if len(limited) == 0 {
		return findings, nil
	}
	asked := func(names ...corev1.ResourceName) bool {
		return slices.ContainsFunc(names, func(name corev1.ResourceName) bool { return limited[name] })
	}
	takes, err := demanded(ctx, s, namespace, asked)
	if err != nil {
		return findings, err
	}
	for i := range list {
		list[i].Namespace = namespace
		findings = append(findings, lacks(&list[i], takes, s.Options.Upgrade)...)
	}
	return findings, nil
}

// lacks compares what a quota leaves with what the release takes.
func lacks(quota *corev1.ResourceQuota, takes corev1.ResourceList, upgrade bool) []preflight.Finding {
	who := "the install takes %s"
	if upgrade {
		who = "the upgrade takes %s more"
	}
	var findings []preflight.Finding
	for _, name := range slices.Sorted(maps.Keys(quota.Status.Hard)) {
		wanted := takes[name]
		used := quota.Status.Used[name]
		left := quota.Status.Hard[name].DeepCopy()
		left.Sub(used)
		if wanted.Sign() <= 0 || wanted.Cmp(left) <= 0 {
			continue
		}
		if left.Sign() < 0 {
			left.Set(0)
		}
		needed := used.DeepCopy()
		needed.Add(wanted)
		findings = append(findings, preflight.Finding{
			Object: object(quota),
			Found: fmt.Sprintf("quota %s leaves %s of %s in namespace %s, and "+who, quota.Name, left.String(), name,
				quota.Namespace, wanted.String()),
			Why: "the API server refuses what exceeds it: Helm stops half-way, or waits for pods that never start",
			Fix: fmt.Sprintf("kubectl --namespace %s patch resourcequota %s --type merge --patch "+
				`'{"spec":{"hard":{"%s":"%s"}}}'`, quota.Namespace, quota.Name, name, needed.String()),
		})
	}
	return findings
}

func object(quota *corev1.ResourceQuota) string {
	return fmt.Sprintf("ResourceQuota %s/%s", quota.Namespace, quota.Name)
}

var exceededQuota = regexp.MustCompile(`exceeded quota: ([^,]+),`)

// exceeded are the pods or objects that a quota or a limit range refuses by themselves. A quota that is known to leave
// too little is not named again.
func exceeded(what string, trials []trial, known []preflight.Finding) []preflight.Finding {
	var findings []preflight.Finding
	for _, t := range trials {
		if classify(t.err) != quota {
			continue
		}
		if m := exceededQuota.FindStringSubmatch(t.err.Error()); m != nil {
			named := fmt.Sprintf("ResourceQuota %s/%s", t.namespace, m[1])
			isNamed := func(f preflight.Finding) bool { return f.Object == named && f.Severity == preflight.Unset }
			if slices.ContainsFunc(known, isNamed) {
				continue
			}
		}
		findings = append(findings, preflight.Finding{
			Object: t.object, Value: t.value,
			Found: fmt.Sprintf("a quota or limit range of namespace %s refuses %s%s: %s",
				t.namespace, what, t.object, kube.Brief(t.err)),
			Why: "it is never created, and an install with --wait times out",
			Fix: fmt.Sprintf("raise it (kubectl --namespace %s describe resourcequota,limitrange), or give containers "+
				"that state none default requests and limits by a LimitRange", t.namespace),
		})
	}
	return findings
}

func namespaces(set *requirement.Set) []string {
	all := []string{set.Namespace}
	if set.Workspaces != set.Namespace {
		all = append(all, set.Workspaces)
	}
	return all
}
