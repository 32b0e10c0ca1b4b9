package cluster

import (
	"bytes"
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Version is what the API server says it is.
func (v *View) Version(ctx context.Context) (*version.Info, error) {
	return Once(ctx, v, "version", v.Untyped.Version)
}

// Namespace reads one, nil where it does not exist.
func (v *View) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	return Once(ctx, v, "namespace/"+name, func(ctx context.Context) (*corev1.Namespace, error) {
		return optional(v.Typed.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}))
	})
}

// Nodes are all nodes, without the lists of images that they hold.
func (v *View) Nodes(ctx context.Context) ([]corev1.Node, error) {
	return Once(ctx, v, "nodes", func(ctx context.Context) ([]corev1.Node, error) {
		var nodes []corev1.Node
		err := kube.Pages(metav1.ListOptions{}, func(options metav1.ListOptions) (string, error) {
			list, err := v.Typed.CoreV1().Nodes().List(ctx, options)
			if err != nil {
				return "", err
			}
			for _, node := range list.Items {
				node.Status.Images, node.ManagedFields = nil, nil
				nodes = append(nodes, node)
			}
			return list.Continue, nil
		})
		return nodes, err
	})
}

// Services are those of all namespaces.
func (v *View) Services(ctx context.Context) ([]corev1.Service, error) {
	return Once(ctx, v, "services", func(ctx context.Context) ([]corev1.Service, error) {
		var services []corev1.Service
		err := kube.Pages(metav1.ListOptions{}, func(options metav1.ListOptions) (string, error) {
			list, err := v.Typed.CoreV1().Services("").List(ctx, options)
			if err != nil {
				return "", err
			}
			for _, service := range list.Items {
				service.ManagedFields = nil
				services = append(services, service)
			}
			return list.Continue, nil
		})
		return services, err
	})
}

// StorageClasses are all of them.
func (v *View) StorageClasses(ctx context.Context) ([]storagev1.StorageClass, error) {
	return Once(ctx, v, "storageclasses", func(ctx context.Context) ([]storagev1.StorageClass, error) {
		return kube.List[storagev1.StorageClass](ctx, v.Untyped, kube.StorageClasses, "", metav1.ListOptions{})
	})
}

// Secret reads one, nil where it does not exist. What it holds must never reach a finding; where it does, Hide takes it
// out again.
func (v *View) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return Once(ctx, v, "secret/"+namespace+"/"+name, func(ctx context.Context) (*corev1.Secret, error) {
		secret, err := optional(v.Typed.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{}))
		if secret == nil {
			return nil, err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		for key, value := range secret.Data {
			// Names and certificates are no secrets, and messages need them.
			if !strings.HasPrefix(strings.ToLower(key), "user") && !bytes.Contains(value, []byte("BEGIN CERTIFICATE")) {
				v.secrets = append(v.secrets, string(value))
			}
		}
		return secret, nil
	})
}

// Get reads any object, nil where neither it nor its kind exists.
func (v *View) Get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	key := "get/" + gvr.String() + "/" + namespace + "/" + name
	return Once(ctx, v, key, func(ctx context.Context) (*unstructured.Unstructured, error) {
		return optional(v.Untyped.Resource(gvr, namespace).Get(ctx, name, metav1.GetOptions{}))
	})
}

// List reads all objects of a kind, none where the kind does not exist. An empty namespace stands for all of them.
func (v *View) List(ctx context.Context, gvr schema.GroupVersionResource, namespace, labels string) ([]unstructured.Unstructured, error) {
	key := "list/" + gvr.String() + "/" + namespace + "/" + labels
	return Once(ctx, v, key, func(ctx context.Context) ([]unstructured.Unstructured, error) {
		items, err := v.Untyped.ListUnstructured(ctx, gvr, namespace, metav1.ListOptions{LabelSelector: labels})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return items, err
	})
}

// ListMetadata is List without what the objects hold.
func (v *View) ListMetadata(ctx context.Context, gvr schema.GroupVersionResource, namespace, labels string) ([]metav1.PartialObjectMetadata, error) {
	key := "metadata/" + gvr.String() + "/" + namespace + "/" + labels
	return Once(ctx, v, key, func(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
		items, err := v.Untyped.ListMetadata(ctx, gvr, namespace, metav1.ListOptions{LabelSelector: labels})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return items, err
	})
}

// Resources are the kinds that the API server serves, by group and version.
func (v *View) Resources(ctx context.Context) (map[schema.GroupVersion][]metav1.APIResource, error) {
	return Once(ctx, v, "resources", func(context.Context) (map[schema.GroupVersion][]metav1.APIResource, error) {
		_, lists, err := v.Typed.Discovery().ServerGroupsAndResources()
		// A group whose own API server is away does not hide the others.
		if len(lists) == 0 && err != nil {
			return nil, err
		}
		all := map[schema.GroupVersion][]metav1.APIResource{}
		for _, list := range lists {
			gv, err := schema.ParseGroupVersion(list.GroupVersion)
			if err != nil {
				return nil, err
			}
			all[gv] = list.APIResources
		}
		return all, nil
	})
}

// Serves says whether the API server knows a kind.
func (v *View) Serves(ctx context.Context, gvk schema.GroupVersionKind) (bool, error) {
	all, err := v.Resources(ctx)
	if err != nil {
		return false, err
	}
	for _, resource := range all[gvk.GroupVersion()] {
		if resource.Kind == gvk.Kind {
			return true, nil
		}
	}
	return false, nil
}

func optional[T any](object *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return object, nil
}
