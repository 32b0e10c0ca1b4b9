// Package kube holds the few Kubernetes operations that nap-hooks needs.
//
// It works through the dynamic client: the typed clientset links every API group there is, which
// doubles the size of the binary.
package kube

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
)

// FieldManager owns the fields that nap-hooks applies.
const FieldManager = "nap-hooks"

// ManagedByLabel marks the objects that nap-hooks makes; its value is FieldManager.
const ManagedByLabel = "app.kubernetes.io/managed-by"

// Client talks to one cluster.
type Client struct {
	dynamic dynamic.Interface
	rest    rest.Interface
	// unlimited is rest without a bound on requests per second.
	unlimited rest.Interface
}

// New connects with $KUBECONFIG or, inside a pod, with the pod's ServiceAccount.
func New() (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: neither a ServiceAccount is mounted here nor does KUBECONFIG name a usable file: %w", err)
	}
	return NewForConfig(config)
}

// NewForConfig connects as config says.
func NewForConfig(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = FieldManager
	if config.QPS == 0 {
		// The library's 5 requests a second would make short steps slow; nobody sends many.
		config.QPS, config.Burst = 50, 100
	}
	if config.QPS > 0 {
		config.RateLimiter = patient{flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst)}
	}
	// To read the API server's refusals by.
	config.NegotiatedSerializer = serializer.NewCodecFactory(optionsScheme).WithoutConversion()
	config.GroupVersion = &schema.GroupVersion{}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	d, err := dynamic.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	r, err := rest.UnversionedRESTClientForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	config.RateLimiter, config.QPS = nil, -1
	unlimited, err := rest.UnversionedRESTClientForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &Client{dynamic: d, rest: r, unlimited: unlimited}, nil
}

// Objects is the untyped interface to one kind of object. It does not list: Each, List and ListMetadata do so, page by
// page.
type Objects interface {
	Get(ctx context.Context, name string, options metav1.GetOptions, subresources ...string) (
		*unstructured.Unstructured, error)
	Create(ctx context.Context, object *unstructured.Unstructured, options metav1.CreateOptions,
		subresources ...string) (*unstructured.Unstructured, error)
	Update(ctx context.Context, object *unstructured.Unstructured, options metav1.UpdateOptions,
		subresources ...string) (*unstructured.Unstructured, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, options metav1.PatchOptions,
		subresources ...string) (*unstructured.Unstructured, error)
	Apply(ctx context.Context, name string, object *unstructured.Unstructured, options metav1.ApplyOptions,
		subresources ...string) (*unstructured.Unstructured, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions, subresources ...string) error
}

// Resource gives the untyped interface to one kind of object. namespace is empty for those that have none.
func (c *Client) Resource(gvr schema.GroupVersionResource, namespace string) Objects {
	if namespace == "" {
		return c.dynamic.Resource(gvr)
	}
	return c.dynamic.Resource(gvr).Namespace(namespace)
}

// Get reads one object into a T, a struct of k8s.io/api.
func Get[T any](ctx context.Context, c *Client, gvr schema.GroupVersionResource, namespace, name string) (*T, error) {
	u, err := c.Resource(gvr, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return fromUnstructured[T](u)
}

// Create makes an object. With dryRun the API server does everything but store it.
func (c *Client) Create(ctx context.Context, gvr schema.GroupVersionResource, namespace string, object any, dryRun bool) error {
	u, err := ToUnstructured(object)
	if err != nil {
		return err
	}
	options := metav1.CreateOptions{FieldManager: FieldManager}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	_, err = c.Resource(gvr, namespace).Create(ctx, u, options)
	return err
}

// Apply states the fields of object by server-side apply and takes them over from whoever else
// manages them. With dryRun the API server does everything but store the result.
func (c *Client) Apply(ctx context.Context, gvr schema.GroupVersionResource, namespace string, object any, dryRun bool) (*unstructured.Unstructured, error) {
	u, err := ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	options := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return c.Resource(gvr, namespace).Apply(ctx, u.GetName(), u, options)
}

// Merge changes the fields of one object, or of a subresource of it, that patch names.
func (c *Client) Merge(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, patch map[string]any, subresources ...string) error {
	return merge(ctx, c.rest, gvr, namespace, name, patch, subresources...)
}

// merge asks for a short answer, and leaves it unread.
func merge(
	ctx context.Context, client rest.Interface, gvr schema.GroupVersionResource, namespace, name string,
	patch map[string]any, subresources ...string,
) error {
	raw, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return client.Patch(types.MergePatchType).AbsPath(PathOf(gvr, namespace)).Name(name).Suffix(subresources...).
		SpecificallyVersionedParams(&metav1.PatchOptions{FieldManager: FieldManager}, parameterCodec, optionsVersion).
		SetHeader("Accept", asMetadata).Body(raw).Do(ctx).Error()
}

// Version asks the API server for its version.
func (c *Client) Version(ctx context.Context) (*version.Info, error) {
	raw, err := c.rest.Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	info := &version.Info{}
	if err := json.Unmarshal(raw, info); err != nil {
		return nil, fmt.Errorf("read the API server's version: %w", err)
	}
	return info, nil
}

// ToUnstructured converts a struct of k8s.io/api whose TypeMeta is set. An unstructured object is returned as it is.
func ToUnstructured(object any) (*unstructured.Unstructured, error) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		return u, nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("convert %T: %w", object, err)
	}
	// The converter writes fields that are no omitempty; an applied status or creation time would be noise.
	delete(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	u := &unstructured.Unstructured{Object: content}
	if u.GetKind() == "" {
		return nil, fmt.Errorf("convert %T: its kind is not set", object)
	}
	return u, nil
}

func fromUnstructured[T any](u *unstructured.Unstructured) (*T, error) {
	v := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, v); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return v, nil
}
