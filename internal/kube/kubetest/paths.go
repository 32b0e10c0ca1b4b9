package kubetest

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pathOf is the API path of an object.
func pathOf(u unstructured.Unstructured) string {
	gv := u.GroupVersionKind().GroupVersion()
	root := "/apis/" + gv.String()
	if gv.Group == "" {
		root = "/api/" + gv.Version
	}
	if namespace := u.GetNamespace(); namespace != "" {
		root += "/namespaces/" + namespace
	}
	plural, _ := ResourceOf(u.GroupVersionKind())
	return root + "/" + plural + "/" + u.GetName()
}

// ResourceOf is how the API calls a kind in its paths, and a single object of it.
func ResourceOf(gvk schema.GroupVersionKind) (plural, singular string) {
	many, one := meta.UnsafeGuessKindToResource(gvk)
	// The guess takes every y for one after a consonant: it makes gatewaies of Gateway.
	if strings.HasSuffix(one.Resource, "ay") {
		return one.Resource + "s", one.Resource
	}
	return many.Resource, one.Resource
}

// split takes an API path apart into what stands before the resource, the namespace, and the rest.
func split(at string) (root, namespace string, rest []string) {
	parts := strings.Split(strings.Trim(at, "/"), "/")
	n := 2
	if parts[0] == "apis" {
		n = 3
	}
	root, parts = "/"+strings.Join(parts[:n], "/"), parts[n:]
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	return root, namespace, parts
}

func isObject(at string) bool {
	_, _, rest := split(at)
	return len(rest) > 1
}

func namespaceOf(at string) string {
	_, namespace, _ := split(at)
	return namespace
}

// inAllNamespaces is the path of the list of all objects like that at a path.
func inAllNamespaces(at string) string {
	root, _, rest := split(at)
	return path.Join(root, rest[0])
}

func groupResource(at string) schema.GroupResource {
	root, _, rest := split(at)
	resource := schema.GroupResource{Resource: rest[0]}
	if group, ok := strings.CutPrefix(path.Dir(root), "/apis/"); ok {
		resource.Group = group
	}
	return resource
}
