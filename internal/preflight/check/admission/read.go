// Package admission asks the API server itself what it would let in: pod security, quotas, and the policies of
// admission webhooks such as Kyverno's and Gatekeeper's.
package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/pod-security-admission/api"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of these topics.
func Checks() []preflight.Check {
	return []preflight.Check{
		{ID: "admission.pod-security", Title: "Each namespace's pod security lets its pods in", Needs: preflight.Cluster, Severity: preflight.Error, Run: levels},
		{ID: "admission.quota", Title: "Quotas and limit ranges leave room for every pod", Needs: preflight.Cluster, Severity: preflight.Error, Run: quotas},
		{ID: "admission.policy", Title: "The API server and its admission policies accept every object", Needs: preflight.Cluster, Severity: preflight.Error, Run: policies},
		{ID: "admission.priority", Title: "Priority classes that pods name exist", Needs: preflight.Cluster, Severity: preflight.Error, Applies: prioritized, Run: priorities},
	}
}

var violation = regexp.MustCompile(`violates PodSecurity "([a-z]+):[^"]*": (.*)`)

// levels judges by the pods themselves. Where they could not be tried it goes by the labels that a namespace has or
// will get, or by what the cluster asks of a namespace without any.
func levels(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	trials, err := tryPods(ctx, s)
	if err != nil {
		return nil, err
	}
	var findings []preflight.Finding
	for _, need := range s.Requirements.PodSecurity {
		namespace, err := s.Cluster.Namespace(ctx, need.Namespace)
		if err != nil {
			return findings, fmt.Errorf("read namespace %s: %w", need.Namespace, err)
		}
		tried := slices.ContainsFunc(trials, func(t trial) bool {
			return t.namespace == need.Namespace && classify(t.err) != noNamespace
		})
		var found []preflight.Finding
		switch {
		case namespace != nil:
			found, err = refused(need, namespace, trials)
		case need.Created:
			// The release makes it, with the label that it needs.
		case tried:
			found, err = refusedLater(need, trials)
		default:
			found, err = unlabelled(ctx, s, need, trials)
		}
		if err != nil {
			return findings, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// refused finds the first pod of a namespace that pod security keeps out.
func refused(need requirement.PodSecurity, namespace *corev1.Namespace, trials []trial) ([]preflight.Finding, error) {
	unknown := true
	var denied error
	for _, t := range trials {
		if t.namespace != need.Namespace {
			continue
		}
		switch classify(t.err) {
		case podSecurity:
			level, detail := violated(t.err)
			detail = fmt.Sprintf(", which keeps out the pods of %s: %s", t.object, detail)
			return []preflight.Finding{relabel(need, level, detail)}, nil
		case noRight, cannotAsk, noNamespace, noAccount:
			denied = t.err
		default:
			unknown = false
		}
	}
	if unknown {
		// No pod could be tried: the label is what is left to read.
		enforced := namespace.Labels[api.EnforceLevelLabel]
		switch {
		case enforced == "" && denied != nil:
			// Without a label the cluster's own default counts, which can't be read.
			return nil, fmt.Errorf("no pod could be tried in namespace %s, which has no label %s: %s",
				need.Namespace, api.EnforceLevelLabel, kube.Brief(denied))
		case enforced != "" && stricter(enforced, need.Level):
			return []preflight.Finding{relabel(need, enforced, "")}, nil
		}
	}
	return nil, nil
}

func relabel(need requirement.PodSecurity, enforced, detail string) preflight.Finding {
	return preflight.Finding{
		Object: "Namespace " + need.Namespace, Value: need.Value,
		Found: fmt.Sprintf("namespace %s enforces the pod security level %q%s", need.Namespace, enforced, detail),
		Why:   "Deployments are made but none of these pods",
		Fix: fmt.Sprintf("kubectl label --overwrite namespace %s %s=%s, or choose another namespace with %s",
			need.Namespace, api.EnforceLevelLabel, need.Level, need.Value),
	}
}

func stricter(enforced, needed string) bool {
	a, err := api.ParseLevel(enforced)
	if err != nil {
		return false
	}
	b, err := api.ParseLevel(needed)
	return err == nil && api.CompareLevels(a, b) > 0
}

// violated is the level that a pod was refused by, and what it lacks.
func violated(err error) (level, detail string) {
	if m := violation.FindStringSubmatch(strings.Join(strings.Fields(err.Error()), " ")); m != nil {
		return m[1], m[2]
	}
	return "a stricter level", err.Error()
}

// refusedLater finds the first pod that pod security would keep out of a namespace which does not exist yet. Another
// one without labels stood for it.
func refusedLater(need requirement.PodSecurity, trials []trial) ([]preflight.Finding, error) {
	for _, t := range trials {
		if t.namespace != need.Namespace {
			continue
		}
		switch classify(t.err) {
		case podSecurity:
			return []preflight.Finding{label(need, t.object, t.err)}, nil
		case noRight, cannotAsk, noNamespace, noAccount:
			return nil, fmt.Errorf("try a pod of %s for namespace %s: %s", t.object, need.Namespace, kube.Brief(t.err))
		}
	}
	return nil, nil
}

// label is the finding for a namespace that must be created with a label.
func label(need requirement.PodSecurity, owner string, err error) preflight.Finding {
	level, detail := violated(err)
	finding := relabel(need, level, "")
	finding.Found = fmt.Sprintf("namespace %s does not exist yet, and without a label this cluster enforces %q, which "+
		"keeps out the pods of %s: %s", need.Namespace, level, owner, detail)
	finding.Fix = fmt.Sprintf("kubectl create namespace %[1]s && kubectl label namespace %[1]s %[2]s=%[3]s",
		need.Namespace, api.EnforceLevelLabel, need.Level)
	return finding
}

// unlabelled asks what a new namespace would enforce, by trying pods in one that is there and has no label either.
func unlabelled(
	ctx context.Context, s *preflight.Subject, need requirement.PodSecurity, trials []trial,
) ([]preflight.Finding, error) {
	namespace, err := s.Cluster.Namespace(ctx, corev1.NamespaceDefault)
	if err != nil {
		return nil, fmt.Errorf("read namespace %s: %w", corev1.NamespaceDefault, err)
	}
	if namespace == nil || namespace.Labels[api.EnforceLevelLabel] != "" {
		for _, t := range trials {
			if t.namespace == need.Namespace {
				return nil, errors.New(missingNamespace(t))
			}
		}
		return nil, &preflight.Untried{Namespace: need.Namespace}
	}
	for _, pod := range s.Requirements.Pods {
		if pod.Namespace != need.Namespace {
			continue
		}
		attempt := podOf(pod)
		attempt.Spec.ServiceAccountName = ""
		err := s.Cluster.Untyped.Create(ctx, kube.Pods, namespace.Name, attempt, true)
		if classify(err) == podSecurity {
			return []preflight.Finding{label(need, pod.Owner, err)}, nil
		}
		if unanswered(err) || kube.MissingPermission(err) != "" {
			return nil, fmt.Errorf("try a pod of %s in namespace %s: %w", pod.Owner, namespace.Name, err)
		}
	}
	return nil, nil
}

// policies tells what no other check does: the API server's validation, and webhooks.
func policies(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	objects, err := tryObjects(ctx, s)
	if err != nil {
		return nil, err
	}
	pods, err := tryPods(ctx, s)
	if err != nil {
		return nil, err
	}
	trials := slices.Concat(objects, pods)
	findings := refusals(trials)
	if slices.ContainsFunc(findings, func(f preflight.Finding) bool { return f.Severity == preflight.Unset }) {
		return findings, nil
	}
	for _, t := range trials {
		switch classify(t.err) {
		case noRight:
			return findings, fmt.Errorf("not every object could be tried: %s", kube.Brief(t.err))
		case noNamespace:
			return findings, fmt.Errorf("not every object could be tried: %s", missingNamespace(t))
		}
	}
	return findings, nil
}

// accounts finds a policy's message about ServiceAccounts.
var accounts = regexp.MustCompile(`(?i)service[ -]?account`)

var webhookName = regexp.MustCompile(`admission webhook "([^"]+)" denied the request: (.*)|ValidatingAdmissionPolicy '([^']+)'.*denied request: (.*)`)

func refusals(trials []trial) []preflight.Finding {
	var findings []preflight.Finding
	untried := map[string]int{}
	unasked := map[string]bool{}
	var unjudged []trial
	denied := 0
	var asDefault []string
	for _, t := range trials {
		switch classify(t.err) {
		case noNamespace:
			untried[t.namespace]++
		case noRight:
			denied++
		case cannotAsk:
			unasked[kube.Brief(t.err)] = true
		case noAccount:
			unjudged = append(unjudged, t)
		case policy:
			if t.asDefault && accounts.MatchString(t.err.Error()) {
				asDefault = append(asDefault, t.object)
				continue
			}
			finding := preflight.Finding{
				Object: t.object, Value: t.value, Found: "the API server refuses it: " + kube.Brief(t.err),
				Why: "Helm ends there, half-way", Fix: "change the value that it comes from",
			}
			if m := webhookName.FindStringSubmatch(kube.Brief(t.err)); m != nil {
				finding.Found = fmt.Sprintf("the policy %s refuses it: %s", m[1]+m[3], m[2]+m[4])
				finding.Fix = "make an exception for the namespace there, or change the value that the object comes from"
			}
			findings = append(findings, finding)
		}
	}
	if len(unjudged) > 0 {
		findings = append(findings, preflight.Finding{
			Severity: preflight.Warning,
			Found:    fmt.Sprintf("pods of %s could not be judged: %v", owners(unjudged), unjudged[0].err),
			Why:      "policies and SecurityContextConstraints may refuse them with their own ServiceAccount too, or may not",
			Fix:      "see that those allow that ServiceAccount what the pods need",
		})
	}
	for _, cause := range slices.Sorted(maps.Keys(unasked)) {
		findings = append(findings, preflight.Finding{Severity: preflight.Warning, Found: "an admission webhook can't be asked: " + cause,
			Why: "objects that it looks at may be refused, or nothing is made until it answers", Fix: "look after that webhook"})
	}
	for _, namespace := range slices.Sorted(maps.Keys(untried)) {
		findings = append(findings, preflight.Finding{
			Object: "Namespace " + namespace, Severity: preflight.Note,
			Found: fmt.Sprintf("%d objects were not tried, since namespace %s does not exist", untried[namespace], namespace),
		})
	}
	if len(asDefault) > 0 {
		findings = append(findings, preflight.Finding{Severity: preflight.Note,
			Found: fmt.Sprintf("%d pods were not tried, that of %s among them: a policy refuses pods of the ServiceAccount "+
				"default, and their own does not exist yet. The objects that create them were tried",
				len(asDefault), asDefault[0])})
	}
	if denied > 0 {
		findings = append(findings, preflight.Finding{Severity: preflight.Note,
			Found: fmt.Sprintf("%d objects were not tried: you may not make them, see rbac.install", denied)})
	}
	return findings
}

func prioritized(s *preflight.Subject) (bool, string) {
	return len(priorityClasses(s.Requirements)) > 0, "no pod names a priority class"
}

// priorityClasses maps each class to the first pod that names it.
func priorityClasses(set *requirement.Set) map[string]requirement.Pod {
	classes := map[string]requirement.Pod{}
	for _, pod := range set.Pods {
		name := pod.Spec.PriorityClassName
		if _, seen := classes[name]; name != "" && !strings.HasPrefix(name, "system-") && !seen {
			classes[name] = pod
		}
	}
	return classes
}

var priorityClass = schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}

func priorities(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var findings []preflight.Finding
	classes := priorityClasses(s.Requirements)
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		pod := classes[name]
		live, err := s.Cluster.Get(ctx, priorityClass, "", name)
		if err != nil {
			return nil, fmt.Errorf("read PriorityClass %s: %w", name, err)
		}
		if live == nil {
			findings = append(findings, preflight.Finding{
				Object: pod.Owner, Found: fmt.Sprintf("PriorityClass %s, which %s names, does not exist", name, pod.Owner),
				Why: "its pods are refused", Fix: "make the class, or change priorityClassName",
			})
		}
	}
	return findings, nil
}
