package kube

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// pageSize is how many objects one request of ListAllMetadata asks for.
const pageSize = 500

// ListAllMetadata is ListMetadata for lists whose length depends on users: it reads them page by page. An empty
// namespace stands for all of them.
func (c *Client) ListAllMetadata(ctx context.Context, gvr schema.GroupVersionResource, namespace string,
	options metav1.ListOptions) ([]metav1.PartialObjectMetadata, error) {
	options.Limit = pageSize
	var all []metav1.PartialObjectMetadata
	for {
		list, err := c.metadata.Resource(gvr).Namespace(namespace).List(ctx, options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			// The pages were read too slowly: the API server no longer has the list that they are of.
			options.Limit, options.Continue, all = 0, "", nil
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if options.Continue = list.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// GetMetadata reads one object without its content: a CustomResourceDefinition, for one, has hundreds of kilobytes.
func (c *Client) GetMetadata(ctx context.Context, gvr schema.GroupVersionResource, namespace,
	name string) (*metav1.PartialObjectMetadata, error) {
	return c.metadata.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Annotate sets annotations of one object and leaves its others alone.
func (c *Client) Annotate(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string,
	annotations map[string]string) error {
	patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	raw, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = c.metadata.Resource(gvr).Namespace(namespace).
		Patch(ctx, name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: FieldManager})
	return err
}
