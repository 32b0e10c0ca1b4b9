package chart

import (
	"context"
	"fmt"
	"slices"

	helmchart "helm.sh/helm/v3/pkg/chart"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Lookup is one question of a template to the cluster. An empty Name asks for all objects of the kind.
type Lookup struct {
	APIVersion, Kind, Namespace, Name string
}

// Lookups lists what the templates of a chart ask the cluster for: on an empty cluster, and on one that holds
// the release, since an answer can lead to another question. load must return a fresh chart each time.
func Lookups(load func() (*helmchart.Chart, error), opts Options) ([]Lookup, error) {
	var asked []Lookup
	note := func(l Lookup) {
		if !slices.Contains(asked, l) {
			asked = append(asked, l)
		}
	}
	opts.Cluster = nil
	ch, err := load()
	if err != nil {
		return nil, err
	}
	opts.Answer = func(l Lookup) map[string]any { note(l); return nil }
	rendered, err := Render(ch, opts)
	// A chart that refuses its values has asked all the same.
	if err != nil && len(asked) == 0 {
		return nil, err
	}
	if ch, err = load(); err != nil {
		return nil, err
	}
	opts.Answer = func(l Lookup) map[string]any { note(l); return own(rendered, l, opts) }
	_, _ = Render(ch, opts)
	return asked, nil
}

// own is an object of the release, as it would be found after the installation.
func own(rendered *Rendered, l Lookup, opts Options) map[string]any {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	if rendered != nil {
		for _, object := range rendered.Objects {
			if object.GetKind() == l.Kind && object.GetName() == l.Name {
				u = object.DeepCopy()
			}
		}
	}
	u.SetAPIVersion(l.APIVersion)
	u.SetKind(l.Kind)
	u.SetName(l.Name)
	u.SetNamespace(l.Namespace)
	Own(u, opts.Release, opts.Namespace)
	return u.Object
}

// Own marks an object as the release's, as Helm does.
func Own(u *unstructured.Unstructured, release, namespace string) {
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels[kube.ManagedByLabel] = kube.Helm
	annotations[kube.ReleaseAnnotation] = release
	annotations[kube.ReleaseNamespaceAnnotation] = namespace
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
}

// Describe names an object, e.g. "Deployment nap/nap-cp".
func Describe(u *unstructured.Unstructured) string {
	if u.GetNamespace() == "" {
		return fmt.Sprintf("%s %s", u.GetKind(), u.GetName())
	}
	return fmt.Sprintf("%s %s/%s", u.GetKind(), u.GetNamespace(), u.GetName())
}

// answers lets a function stand in for a cluster.
type answers func(Lookup) map[string]any

func (a answers) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return asker{answers: a, apiVersion: apiVersion, kind: kind}, true, nil
}

// asker has the two methods of a client that lookup calls.
type asker struct {
	dynamic.NamespaceableResourceInterface
	answers                     answers
	apiVersion, kind, namespace string
}

func (q asker) Namespace(namespace string) dynamic.ResourceInterface {
	q.namespace = namespace
	return q
}

func (q asker) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	object := q.answers(Lookup{q.apiVersion, q.kind, q.namespace, name})
	if object == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: q.kind}, name)
	}
	return &unstructured.Unstructured{Object: object}, nil
}

func (q asker) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	q.answers(Lookup{q.apiVersion, q.kind, q.namespace, ""})
	return &unstructured.UnstructuredList{Object: map[string]any{"items": []any{}}}, nil
}
