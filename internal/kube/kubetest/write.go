package kubetest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func (s *Server) create(w http.ResponseWriter, r *http.Request, body map[string]any) {
	u := unstructured.Unstructured{Object: body}
	if u.GetName() == "" {
		u.SetName(u.GetGenerateName() + "x7k2p")
	}
	at := r.URL.Path + "/" + u.GetName()
	if s.objects[at] != nil {
		fail(w, apierrors.NewAlreadyExists(groupResource(at), u.GetName()))
		return
	}
	s.store(w, r, at, body, http.StatusCreated)
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request, body map[string]any) {
	live := s.objects[r.URL.Path]
	switch apply := strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch"); {
	case apply:
		s.apply(w, r, live, body)
	case live == nil:
		fail(w, notFound(r.URL.Path))
	default:
		s.store(w, r, r.URL.Path, merge(live, body), http.StatusOK)
	}
}

// apply is a server-side apply: what another manager has set otherwise is a conflict unless it is forced, and what this
// one has applied before and no longer does goes.
func (s *Server) apply(w http.ResponseWriter, r *http.Request, live, body map[string]any) {
	at, manager := r.URL.Path, managerOf(r)
	owned := s.owners[at].clone()
	if conflict := owned.take(manager, live, body, r.URL.Query().Get("force") == "true"); conflict != nil {
		apiVersion, _, _ := unstructured.NestedString(body, "apiVersion")
		fail(w, conflict.status(apiVersion))
		return
	}
	object := merge(runtime.DeepCopyJSON(live), body)
	for _, field := range owned.release(manager, body) {
		unstructured.RemoveNestedField(object, field...)
	}
	code := http.StatusOK
	if live == nil {
		code = http.StatusCreated
	}
	if s.store(w, r, at, object, code) && !dryRun(r) {
		s.owners[at] = owned
	}
}

// update replaces an object, if it is still the version that the new one was made of.
func (s *Server) update(w http.ResponseWriter, r *http.Request, body map[string]any) {
	live, ok := s.objects[r.URL.Path]
	if !ok {
		fail(w, notFound(r.URL.Path))
		return
	}
	body = runtime.DeepCopyJSON(body)
	u := unstructured.Unstructured{Object: body}
	was, is := u.GetResourceVersion(), s.versionOf(r.URL.Path, live)
	u.SetResourceVersion("")
	if was != "" && was != is {
		fail(w, apierrors.NewConflict(groupResource(r.URL.Path), path.Base(r.URL.Path),
			errors.New("the object has been modified; please apply your changes to the latest version and try again")))
		return
	}
	s.store(w, r, r.URL.Path, body, http.StatusOK)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request, body map[string]any) {
	object, ok := s.objects[r.URL.Path]
	if !ok {
		fail(w, notFound(r.URL.Path))
		return
	}
	for _, field := range []string{"uid", "resourceVersion"} {
		wanted, asked, _ := unstructured.NestedString(body, "preconditions", field)
		if is, _, _ := unstructured.NestedString(s.versioned(r.URL.Path, object), "metadata", field); asked &&
			wanted != is {
			conflict := apierrors.NewConflict(groupResource(r.URL.Path), path.Base(r.URL.Path),
				//lint:ignore ST1005 these are the API server's words
				fmt.Errorf("Precondition failed: %s in precondition: %s, in object meta: %s", field, wanted, is))
			// It is the storage that refuses, which knows the kind alone.
			conflict.ErrStatus.Details.Kind, _, _ = unstructured.NestedString(object, "kind")
			fail(w, conflict)
			return
		}
	}
	all, _, _ := unstructured.NestedStringSlice(body, "dryRun")
	if !dryRun(r) && !slices.Contains(all, metav1.DryRunAll) {
		delete(s.objects, r.URL.Path)
		delete(s.owners, r.URL.Path)
	}
	answer(w, http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status: metav1.StatusSuccess})
}

// store keeps an object under a new version and answers with it. It tells whether it could.
func (s *Server) store(w http.ResponseWriter, r *http.Request, at string, object map[string]any, code int) bool {
	u := unstructured.Unstructured{Object: object}
	if namespace := namespaceOf(at); namespace != "" {
		if s.objects["/api/v1/namespaces/"+namespace] == nil {
			fail(w, notFound("/api/v1/namespaces/"+namespace))
			return false
		}
		u.SetNamespace(namespace)
	}
	if !dryRun(r) {
		s.newVersion(at)
		owned := s.owners[at].clone()
		owned.change(managerOf(r), s.objects[at], object)
		s.owners[at], s.objects[at] = owned, object
	}
	answer(w, code, s.versioned(at, object))
	return true
}

// newVersion gives the object at a path another version. It is not part of what is stored: tests compare that.
func (s *Server) newVersion(at string) {
	s.revision++
	s.versions[at] = strconv.Itoa(s.revision)
}

// versionOf is the version of an object: the one that a test has given it, else ours.
func (s *Server) versionOf(at string, object map[string]any) string {
	if own := (&unstructured.Unstructured{Object: object}).GetResourceVersion(); own != "" {
		return own
	}
	return s.versions[at]
}

// versioned is an object as it is told, with its version.
func (s *Server) versioned(at string, object map[string]any) map[string]any {
	told := maps.Clone(object)
	metadata, _ := object["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = map[string]any{}
	}
	if version := s.versionOf(at, object); version != "" {
		metadata["resourceVersion"] = version
	}
	told["metadata"] = metadata
	return told
}

func (s *Server) scale(w http.ResponseWriter, r *http.Request, at string, body map[string]any) {
	object := s.objects[at]
	if object == nil {
		fail(w, notFound(at))
		return
	}
	if r.Method == http.MethodPatch {
		replicas, _, _ := unstructured.NestedFieldNoCopy(body, "spec", "replicas")
		if err := unstructured.SetNestedField(object, replicas, "spec", "replicas"); err != nil {
			s.t.Error(err)
		}
	}
	spec := map[string]any{}
	// A scale of none is written as no number.
	if replicas, _, _ := unstructured.NestedFieldNoCopy(object, "spec", "replicas"); fmt.Sprint(replicas) != "0" {
		spec["replicas"] = replicas
	}
	answer(w, http.StatusOK, map[string]any{
		"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": object["metadata"], "spec": spec,
		"status": object["status"],
	})
}

// merge lays patch over live: maps by key, everything else as a whole.
func merge(live, patch map[string]any) map[string]any {
	out := maps.Clone(live)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range patch {
		if nested, ok := value.(map[string]any); ok {
			old, _ := out[key].(map[string]any)
			value = merge(old, nested)
		}
		if value == nil {
			delete(out, key)
			continue
		}
		out[key] = value
	}
	return out
}
