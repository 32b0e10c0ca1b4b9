package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// atOnce bounds the dry runs that are under way.
const atOnce = 8

// trial is what the API server said to one object.
type trial struct {
	object, namespace, value string
	err                      error
	// asDefault says that a pod with a ServiceAccount of its own was tried with the namespace's default one.
	asDefault bool
}

// tryPods lets the API server admit one pod of each kind, in a dry run: once, for all checks that look at the answers.
func tryPods(ctx context.Context, s *preflight.Subject) ([]trial, error) {
	return cluster.Once(ctx, s.Cluster, "admission/pods", func(ctx context.Context) ([]trial, error) {
		t := &trying{s: s, places: map[string]place{}}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, pod := range s.Requirements.Pods {
			one := trial{
				object: pod.Owner, namespace: pod.Namespace, value: pod.Value, asDefault: pod.Spec.ServiceAccountName != "",
			}
			err := t.try(ctx, group, one,
				func(ctx context.Context, namespace string) error {
					return tryPod(ctx, s, namespace, pod)
				})
			if err != nil {
				return nil, err
			}
		}
		err := group.Wait()
		return inOrder(t.trials), err
	})
}

// otherAccount says that a pod was refused, perhaps only since its own ServiceAccount does not exist yet.
type otherAccount struct {
	// own is the ServiceAccount that the pod will have, tried the one that stood for it.
	own, tried string
	err        error
}

func (o *otherAccount) Error() string {
	return fmt.Sprintf("ServiceAccount %s does not exist yet, and the API server refuses a pod with ServiceAccount %s: %s",
		o.own, o.tried, kube.Brief(o.err))
}

// tryPod tries a pod with its ServiceAccount, or, as long as that does not exist, with that of the probes, or with
// "default" where there is no such one. Some policies refuse "default", and SecurityContextConstraints are granted to
// the pod's own ServiceAccount: what they refuse says nothing about the pod then.
func tryPod(ctx context.Context, s *preflight.Subject, namespace string, pod requirement.Pod) error {
	attempt := podOf(pod)
	own := attempt.Spec.ServiceAccountName
	if own == "" || own == defaultAccount {
		return createPod(ctx, s.Cluster.Untyped, namespace, attempt)
	}
	err := s.Cluster.Untyped.Create(ctx, kube.Pods, namespace, attempt, true)
	if !kube.NoServiceAccount(err) {
		return err
	}
	attempt.Spec.ServiceAccountName = ""
	if s.Probes != nil {
		// Where the session can't work its other checks say why.
		attempt.Spec.ServiceAccountName, err = s.Probes.Account(ctx, namespace)
		if err != nil && ctx.Err() != nil {
			return err
		}
	}
	err = createPod(ctx, s.Cluster.Untyped, namespace, attempt)
	tried := cmp.Or(attempt.Spec.ServiceAccountName, defaultAccount)
	if classify(err) == policy && (tried == defaultAccount || kube.NoSecurityContextConstraint(err)) &&
		!apierrors.IsInvalid(err) {
		return &otherAccount{own: own, tried: tried, err: err}
	}
	return err
}

// defaultAccount is the ServiceAccount of pods that name none.
const defaultAccount = "default"

// accountWait bounds the wait for the ServiceAccount that every namespace gets a moment after it is created.
const accountWait = 10 * time.Second

// createPod tries a pod. In a namespace that was created a moment ago there may be no ServiceAccount yet.
func createPod(ctx context.Context, client *kube.Client, namespace string, pod *corev1.Pod) error {
	until := time.Now().Add(accountWait)
	for {
		err := client.Create(ctx, kube.Pods, namespace, pod, true)
		if !kube.NoServiceAccount(err) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// trying collects trials that are made at the same time.
type trying struct {
	s *preflight.Subject
	// places is where objects of a namespace are tried, or why they can't be.
	places map[string]place

	mu     sync.Mutex
	trials []trial
}

type place struct {
	name    string
	untried *preflight.Untried
}

// try makes one trial where objects of its namespace can be tried, and notes the answer.
func (t *trying) try(
	ctx context.Context, group *errgroup.Group, one trial, do func(ctx context.Context, namespace string) error,
) error {
	at, known := t.places[one.namespace]
	if !known && one.namespace != "" {
		var err error
		at.name, err = t.s.TrialNamespace(ctx, one.namespace)
		if err != nil && !errors.As(err, &at.untried) {
			return err
		}
		t.places[one.namespace] = at
	}
	if at.untried != nil {
		one.err = at.untried
		t.note(one)
		return nil
	}
	group.Go(func() error {
		err := do(ctx, at.name)
		if unanswered(err) {
			return err
		}
		one.err = preflight.Renamed(err, at.name, one.namespace)
		var other *otherAccount
		if errors.As(err, &other) {
			other.err = preflight.Renamed(other.err, at.name, one.namespace)
		}
		t.note(one)
		return nil
	})
	return nil
}

func (t *trying) note(one trial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trials = append(t.trials, one)
}

// inOrder sorts what was tried at once, so that two runs say the same.
func inOrder(trials []trial) []trial {
	slices.SortStableFunc(trials, func(a, b trial) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.object, b.object))
	})
	return trials
}

// podOf is the pod as its controller would make it, without its priority, which does not exist yet.
func podOf(pod requirement.Pod) *corev1.Pod {
	spec := *pod.Spec.DeepCopy()
	spec.ServiceAccountName = cmp.Or(spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount, spec.PriorityClassName = "", ""
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "neutree-preflight-", Labels: pod.Labels},
		Spec:       spec,
	}
}

// tryObjects lets the API server judge every object that Helm makes, as an apply in a dry run.
func tryObjects(ctx context.Context, s *preflight.Subject) ([]trial, error) {
	return cluster.Once(ctx, s.Cluster, "admission/objects", func(ctx context.Context) ([]trial, error) {
		t := &trying{s: s, places: map[string]place{}}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, object := range s.Requirements.Objects {
			if object.By != requirement.Helm {
				continue
			}
			gvr, err := s.Cluster.Resource(ctx, object.GroupVersionKind())
			if err != nil {
				return nil, err
			}
			if gvr.Empty() {
				continue // k8s.apis says so
			}
			one := trial{object: chart.Describe(object.Unstructured), namespace: object.GetNamespace()}
			err = t.try(ctx, group, one, func(ctx context.Context, namespace string) error {
				return try(ctx, s.Cluster.Untyped, gvr, namespace, object)
			})
			if err != nil {
				return nil, err
			}
		}
		err := group.Wait()
		return inOrder(t.trials), err
	})
}

// try makes a dry run of what Helm does with an object, in the namespace that its own or another stands for.
func try(
	ctx context.Context, client *kube.Client, gvr schema.GroupVersionResource, namespace string, object requirement.Object,
) error {
	u := object.DeepCopy()
	u.SetNamespace(namespace)
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	if object.Hook == nil {
		_, err := client.Apply(ctx, gvr, namespace, u, true)
		return err
	}
	// Helm deletes what an earlier hook of that name left, so what is there does not count.
	err := client.Create(ctx, gvr, namespace, u, true)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// named is how many objects a message names.
const named = 10

// missingNamespace says why something was not tried, since its namespace does not exist.
func missingNamespace(t trial) string {
	var untried *preflight.Untried
	if errors.As(t.err, &untried) {
		return untried.Error()
	}
	return fmt.Sprintf("namespace %s does not exist any more", t.namespace)
}

// unanswered tells whether err is no answer to what was tried.
func unanswered(err error) bool {
	// A webhook that can't be asked without a change is an answer too, and so is one to a pod with another account.
	kind := classify(err)
	return kube.Unanswered(err) && kind != cannotAsk && kind != noAccount
}

// kind is what an answer is about, so that each refusal is told once, by the check whose topic it is.
type kind int

const (
	admitted kind = iota
	noRight
	noNamespace
	podSecurity
	quota
	elsewhere
	cannotAsk
	noAccount
	policy
)

func classify(err error) kind {
	if err == nil {
		return admitted
	}
	var untried *preflight.Untried
	var other *otherAccount
	text := err.Error()
	switch {
	case errors.As(err, &untried):
		return noNamespace
	case errors.As(err, &other):
		return noAccount
	case kube.MissingPermission(err) != "", strings.Contains(text, "attempting to grant RBAC permissions not currently held"):
		return noRight
	case apierrors.IsNotFound(err):
		return noNamespace
	case strings.Contains(text, "violates PodSecurity"):
		return podSecurity
	case strings.Contains(text, "exceeded quota"), strings.Contains(text, "failed quota"),
		apierrors.IsForbidden(err) && (strings.Contains(text, " usage per ") || strings.Contains(text, "limit to request ratio")):
		return quota
	case strings.Contains(text, "port is already allocated"), strings.Contains(text, "not in the valid range"),
		strings.Contains(text, "no PriorityClass with name"), apierrors.IsConflict(err):
		return elsewhere
	case kube.NoDryRun(err), kube.AdmissionWebhookDown(err):
		return cannotAsk
	}
	return policy
}

// unjudged says which pods or objects the API server refused for another reason before it came to a verdict on a topic;
// nil where there is none.
func unjudged(what string, trials []trial, topic kind) error {
	trials = slices.DeleteFunc(slices.Clone(trials), func(t trial) bool {
		kind := classify(t.err)
		return kind == admitted || kind == topic
	})
	if len(trials) == 0 {
		return nil
	}
	first := trials[0]
	var cause string
	switch classify(first.err) {
	case podSecurity:
		cause = fmt.Sprintf("the pod security of namespace %s keeps them out before that (admission.pod-security)", first.namespace)
	case noRight:
		cause = kube.MissingPermission(first.err)
	}
	if cause == "" {
		cause = kube.Brief(first.err)
	}
	return fmt.Errorf("%s%s could not be tried: %s", what, owners(trials), cause)
}

// owners names the objects of trials.
func owners(trials []trial) string {
	var names []string
	for _, t := range trials[:min(len(trials), named)] {
		names = append(names, t.object)
	}
	list := strings.Join(names, ", ")
	if more := len(trials) - named; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}
