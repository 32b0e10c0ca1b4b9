package kubetest

import (
	"encoding/base64"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	selector, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		fail(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	fieldSelector, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		fail(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	for _, requirement := range fieldSelector.Requirements() {
		if _, known := fieldsOf(unstructured.Unstructured{}, r.URL.Path)[requirement.Field]; !known {
			fail(w, apierrors.NewBadRequest("field label not supported: "+requirement.Field))
			return
		}
	}
	limit, _ := strconv.Atoi(query.Get("limit"))
	after, err := base64.RawURLEncoding.DecodeString(query.Get("continue"))
	if err != nil {
		fail(w, apierrors.NewBadRequest("continue key is not valid: "+err.Error()))
		return
	}
	items, next, last := []any{}, "", ""
	for _, at := range slices.Sorted(maps.Keys(s.objects)) {
		u := unstructured.Unstructured{Object: s.objects[at]}
		inList := path.Dir(at) == r.URL.Path || inAllNamespaces(at) == r.URL.Path
		if !inList || at <= string(after) || !selector.Matches(labels.Set(u.GetLabels())) ||
			!fieldSelector.Matches(fieldsOf(u, r.URL.Path)) {
			continue
		}
		if limit > 0 && len(items) == limit {
			next = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		items, last = append(items, s.versioned(at, u.Object)), at
	}
	metadata := map[string]any{"resourceVersion": strconv.Itoa(s.revision + 1)}
	if next != "" {
		metadata["continue"] = next
	}
	list := map[string]any{"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items}
	if len(items) > 0 {
		// A typed client reads a list of its own kind only.
		first := unstructured.Unstructured{Object: items[0].(map[string]any)}
		list["apiVersion"], list["kind"] = first.GetAPIVersion(), first.GetKind()+"List"
	}
	onlyMetadata := strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList")
	s.lists = append(s.lists, Listing{r.URL.Path, limit, len(items), onlyMetadata})
	if onlyMetadata {
		list["apiVersion"], list["kind"] = "meta.k8s.io/v1", "PartialObjectMetadataList"
		for i, item := range items {
			items[i] = map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
				"metadata": item.(map[string]any)["metadata"]}
		}
	}
	answer(w, http.StatusOK, list)
}

// fieldsOf gives the fields that the API server lets the objects at a path be selected by, as far as the code under
// test does so.
func fieldsOf(u unstructured.Unstructured, at string) fields.Set {
	set := fields.Set{"metadata.name": u.GetName(), "metadata.namespace": u.GetNamespace()}
	more := map[string][]string{
		"events": {"involvedObject.name", "involvedObject.kind"},
		"pods":   {"status.phase", "spec.nodeName"},
	}
	for _, field := range more[groupResource(at).Resource] {
		set[field], _, _ = unstructured.NestedString(u.Object, strings.Split(field, ".")...)
	}
	return set
}
