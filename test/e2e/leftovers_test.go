//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// wantNothingLeft asserts that of a release whose data was deleted nothing is left: no object of any kind in its
// namespace but those that every namespace has, none of the whole cluster that bears its label, no namespace of
// workspaces and no volume. The operator's CustomResourceDefinitions are.
func (r *release) wantNothingLeft(t testing.TB) {
	t.Helper()
	eventually(t, time.Minute, "nothing of the release is left", func(ctx context.Context) (bool, string) {
		left, err := r.leftovers(ctx)
		if err != nil {
			return false, err.Error()
		}
		return len(left) == 0, strings.Join(left, ", ")
	})
	list, err := r.dynamic.Resource(crds).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list.Items, func(o unstructured.Unstructured) bool { return o.GetName() == "clusters"+operatorGroup }) {
		t.Error("the CustomResourceDefinition of databases is gone, and with it all databases of the cluster")
	}
}

func (r *release) leftovers(ctx context.Context) ([]string, error) {
	lists, err := r.client.Discovery().ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || resource.Kind == "Event" || resource.Kind == "CustomResourceDefinition" || strings.HasSuffix(version.Group, "metrics.k8s.io") {
				continue
			}
			of := r.dynamic.Resource(version.WithResource(resource.Name))
			if resource.Namespaced {
				objects, err := of.Namespace(r.namespace).List(ctx, metav1.ListOptions{})
				if err != nil {
					return nil, err
				}
				for _, o := range objects.Items {
					if name := resource.Kind + " " + o.GetName(); name != "ServiceAccount default" && name != "ConfigMap kube-root-ca.crt" {
						left = append(left, name)
					}
				}
				continue
			}
			objects, err := of.List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, err
			}
			for _, o := range objects.Items {
				claimed, _, _ := unstructured.NestedString(o.Object, "spec", "claimRef", "namespace")
				if o.GetLabels()["app.kubernetes.io/instance"] == r.name || o.GetName() == r.workspaces() || claimed == r.namespace || claimed == r.workspaces() {
					left = append(left, resource.Kind+" "+o.GetName())
				}
			}
		}
	}
	return left, nil
}
