package cluster

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is how the API server calls a kind in its paths; empty where it does not know it.
func (v *View) Resource(ctx context.Context, gvk schema.GroupVersionKind) (schema.GroupVersionResource, error) {
	all, err := v.Resources(ctx)
	if err != nil {
		return schema.GroupVersionResource{}, fmt.Errorf("ask which kinds the API server knows: %w", err)
	}
	for _, resource := range all[gvk.GroupVersion()] {
		if resource.Kind == gvk.Kind && !strings.Contains(resource.Name, "/") {
			return gvk.GroupVersion().WithResource(resource.Name), nil
		}
	}
	return schema.GroupVersionResource{}, nil
}

// Mapper knows the API server's kinds.
func (v *View) Mapper(ctx context.Context) (meta.RESTMapper, error) {
	all, err := v.Resources(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask which kinds the API server knows: %w", err)
	}
	versions := make([]schema.GroupVersion, 0, len(all))
	for gv := range all {
		versions = append(versions, gv)
	}
	mapper := meta.NewDefaultRESTMapper(versions)
	for gv, resources := range all {
		for _, resource := range resources {
			if !strings.Contains(resource.Name, "/") {
				scope := meta.RESTScopeRoot
				if resource.Namespaced {
					scope = meta.RESTScopeNamespace
				}
				mapper.AddSpecific(gv.WithKind(resource.Kind), gv.WithResource(resource.Name), gv.WithResource(resource.SingularName), scope)
			}
		}
	}
	return mapper, nil
}
