package admission

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

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
}

// tryPods lets the API server admit one pod of each kind, in a dry run: once, for all checks that look at the answers.
// Namespaces that do not exist are left out.
func tryPods(ctx context.Context, s *preflight.Subject) ([]trial, error) {
	return cluster.Once(ctx, s.Cluster, "admission/pods", func(ctx context.Context) ([]trial, error) {
		var mu sync.Mutex
		var trials []trial
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, pod := range s.Requirements.Pods {
			namespace, err := s.Cluster.Namespace(ctx, pod.Namespace)
			if err != nil && !apierrors.IsForbidden(err) {
				return nil, fmt.Errorf("read namespace %s: %w", pod.Namespace, err)
			}
			if err == nil && namespace == nil {
				continue
			}
			group.Go(func() error {
				err := s.Cluster.Untyped.Create(ctx, kube.Pods, pod.Namespace, podOf(pod), true)
				if unanswered(err) {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				trials = append(trials, trial{pod.Owner, pod.Namespace, pod.Value, err})
				return nil
			})
		}
		err := group.Wait()
		return inOrder(trials), err
	})
}

// inOrder sorts what was tried at once, so that two runs say the same.
func inOrder(trials []trial) []trial {
	slices.SortStableFunc(trials, func(a, b trial) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.object, b.object))
	})
	return trials
}

// podOf is the pod as its controller would make it, without what is not there yet: its ServiceAccount, its priority.
func podOf(pod requirement.Pod) *corev1.Pod {
	spec := *pod.Spec.DeepCopy()
	spec.ServiceAccountName, spec.DeprecatedServiceAccount, spec.PriorityClassName = "", "", ""
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "neutree-preflight-", Labels: pod.Labels},
		Spec:       spec,
	}
}

// tryObjects lets the API server judge every object that Helm makes, as an apply in a dry run.
func tryObjects(ctx context.Context, s *preflight.Subject) ([]trial, error) {
	return cluster.Once(ctx, s.Cluster, "admission/objects", func(ctx context.Context) ([]trial, error) {
		var mu sync.Mutex
		var trials []trial
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
			group.Go(func() error {
				err := try(ctx, s.Cluster.Untyped, gvr, object)
				if unanswered(err) {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				trials = append(trials, trial{chart.Describe(object.Unstructured), object.GetNamespace(), "", err})
				return nil
			})
		}
		err := group.Wait()
		return inOrder(trials), err
	})
}

func try(ctx context.Context, client *kube.Client, gvr schema.GroupVersionResource, object requirement.Object) error {
	u := object.DeepCopy()
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	if object.Hook == nil {
		_, err := client.Apply(ctx, gvr, object.GetNamespace(), u, true)
		return err
	}
	// Helm deletes what an earlier hook of that name left, so what is there does not count.
	err := client.Create(ctx, gvr, object.GetNamespace(), u, true)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// unanswered tells whether err is no answer to what was tried.
func unanswered(err error) bool {
	// A webhook that can't be asked without a change is an answer too.
	return kube.Unanswered(err) && classify(err) != cannotAsk
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
	policy
)

func classify(err error) kind {
	if err == nil {
		return admitted
	}
	text := err.Error()
	switch {
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
	case strings.Contains(text, "does not support dry run"), kube.AdmissionWebhookDown(err):
		return cannotAsk
	}
	return policy
}

// unjudged says which pods the API server refused for another reason before it came to a verdict on a topic; nil where
// there is none.
func unjudged(trials []trial, topic kind) error {
	var owners []string
	var first trial
	for _, t := range trials {
		switch classify(t.err) {
		case admitted, topic:
			continue
		case noNamespace:
			// The namespace was removed meanwhile: as if it had not been there.
			continue
		}
		if owners = append(owners, t.object); first.err == nil {
			first = t
		}
	}
	if len(owners) == 0 {
		return nil
	}
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
	return fmt.Errorf("pods of %s could not be tried: %s", strings.Join(owners, ", "), cause)
}
