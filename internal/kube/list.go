package kube

import (
	"context"
	"errors"
	"fmt"
	"path"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// PageSize bounds how many objects one answer of the API server holds. Some clusters have tens of thousands of pods or
// workspaces, and a hook has 128 MiB.
const PageSize = 250

// Ask for names, labels and the like only, so that no content (of Secrets, say) leaves the API server.
const (
	asMetadata     = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
	asMetadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)

// lastApplied is kubectl's copy of a whole object in an annotation.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Pages calls page with the options for one page after the other. page lists with them and returns the token of the
// next page. No other code lists: a test sees to that.
func Pages(options metav1.ListOptions, page func(metav1.ListOptions) (next string, err error)) error {
	options.Limit = PageSize
	for {
		next, err := page(options)
		if apierrors.IsResourceExpired(err) {
			// The pages are those of one moment, which the API server forgets after some minutes. It offers the rest
			// as it is now: what was there all the time is neither missed nor seen twice.
			next, err = restOf(err)
		}
		if err != nil || next == "" {
			return err
		}
		options.Continue = next
	}
}

// restOf is the token in the answer to one that has expired.
func restOf(err error) (string, error) {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Continue != "" {
		return status.Status().Continue, nil
	}
	return "", err
}

// Each reads the objects that the options select page by page, and calls do with each. T is a struct of k8s.io/api, or
// one with fewer fields: only those take memory. An empty namespace stands for all of them.
func Each[T any](
	ctx context.Context, c *Client, gvr schema.GroupVersionResource, namespace string, options metav1.ListOptions,
	do func(*T),
) error {
	return each(ctx, c, gvr, namespace, "", options, do)
}

// List reads all objects that the options select into memory. An empty namespace stands for all of them.
func List[T any](
	ctx context.Context, c *Client, gvr schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) ([]T, error) {
	out := []T{}
	if err := Each(ctx, c, gvr, namespace, options, func(one *T) { out = append(out, *one) }); err != nil {
		return nil, err
	}
	return out, nil
}

// ListUnstructured reads all objects that the options select into memory, with every field of theirs. An empty
// namespace stands for all of them.
func (c *Client) ListUnstructured(
	ctx context.Context, gvr schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) ([]unstructured.Unstructured, error) {
	var all []unstructured.Unstructured
	err := Pages(options, func(options metav1.ListOptions) (string, error) {
		list, err := c.dynamic.Resource(gvr).Namespace(namespace).List(ctx, options)
		if err != nil {
			return "", err
		}
		all = append(all, list.Items...)
		return list.GetContinue(), nil
	})
	return all, err
}

// EachMetadata calls do with the names, labels and the like of the objects that the options select, page by page.
func (c *Client) EachMetadata(
	ctx context.Context, gvr schema.GroupVersionResource, namespace string, options metav1.ListOptions,
	do func(*metav1.PartialObjectMetadata),
) error {
	return each(ctx, c, gvr, namespace, asMetadataList, options, do)
}

// ListMetadata reads all of them into memory, without who manages which of their fields.
func (c *Client) ListMetadata(
	ctx context.Context, gvr schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) ([]metav1.PartialObjectMetadata, error) {
	var all []metav1.PartialObjectMetadata
	err := c.EachMetadata(ctx, gvr, namespace, options, func(one *metav1.PartialObjectMetadata) {
		one.ManagedFields = nil
		delete(one.Annotations, lastApplied)
		all = append(all, *one)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// GetMetadata reads one object's name, labels and the like.
func (c *Client) GetMetadata(
	ctx context.Context, gvr schema.GroupVersionResource, namespace, name string,
) (*metav1.PartialObjectMetadata, error) {
	result := c.rest.Get().AbsPath(PathOf(gvr, namespace), name).SetHeader("Accept", asMetadata).Do(ctx)
	if err := result.Error(); err != nil {
		return nil, err
	}
	raw, err := result.Raw()
	if err != nil {
		return nil, err
	}
	one := &metav1.PartialObjectMetadata{}
	if err := utiljson.Unmarshal(raw, one); err != nil {
		return nil, fmt.Errorf("read the metadata of %s %s: %w", gvr.Resource, name, err)
	}
	return one, nil
}

var (
	optionsScheme  = runtime.NewScheme()
	parameterCodec = runtime.NewParameterCodec(optionsScheme)
	optionsVersion = schema.GroupVersion{Version: "v1"}
)

func init() { metav1.AddToGroupVersion(optionsScheme, optionsVersion) }

// each decodes the pages itself: the dynamic client would make a map of every field, which takes ten times the memory.
func each[T any](
	ctx context.Context, c *Client, gvr schema.GroupVersionResource, namespace, accept string,
	options metav1.ListOptions, do func(*T),
) error {
	return Pages(options, func(options metav1.ListOptions) (string, error) {
		request := c.rest.Get().AbsPath(PathOf(gvr, namespace)).
			SpecificallyVersionedParams(&options, parameterCodec, optionsVersion)
		if accept != "" {
			request = request.SetHeader("Accept", accept)
		}
		result := request.Do(ctx)
		if err := result.Error(); err != nil {
			return "", err
		}
		raw, err := result.Raw()
		if err != nil {
			return "", err
		}
		var page struct {
			Metadata metav1.ListMeta `json:"metadata"`
			Items    []T             `json:"items"`
		}
		if err := utiljson.Unmarshal(raw, &page); err != nil {
			return "", fmt.Errorf("read the list of %s: %w", gvr.Resource, err)
		}
		for i := range page.Items {
			do(&page.Items[i])
		}
		return page.Metadata.Continue, nil
	})
}

// PathOf is where the API server serves the objects of a kind. An empty namespace stands for all of them, or for none.
func PathOf(gvr schema.GroupVersionResource, namespace string) string {
	root := "/api"
	if gvr.Group != "" {
		root = path.Join("/apis", gvr.Group)
	}
	root = path.Join(root, gvr.Version)
	if namespace != "" {
		root = path.Join(root, "namespaces", namespace)
	}
	return path.Join(root, gvr.Resource)
}
