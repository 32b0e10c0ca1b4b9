// Package kubetest is a small double of the Kubernetes API for unit tests.
//
// It stores objects, merges what is applied, honours dry runs and selectors, and answers over HTTP,
// so that the real client and its real errors are used. It does not validate, default, authorize
// or admit: a test that needs a refusal says by Refuse which words the API server would use.
package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Server is the double.
type Server struct {
	t    *testing.T
	http *httptest.Server

	mu       sync.Mutex
	objects  map[string]map[string]any
	refusals []refusal
	version  string
	changes  []Request
	onChange func(number int)
}

// Request is one that would change something.
type Request struct {
	Method string
	Path   string
	DryRun bool
	Body   map[string]any
}

type refusal struct {
	method, pattern string
	times           int
	status          metav1.Status
}

// New starts a double that holds the objects in the YAML documents.
func New(t *testing.T, documents ...string) *Server {
	t.Helper()
	s := &Server{t: t, objects: map[string]map[string]any{}, version: "v1.34.4"}
	for _, document := range documents {
		for _, one := range strings.Split(document, "\n---\n") {
			s.Put(one)
		}
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	return s
}

// Client connects to the double.
func (s *Server) Client() *kube.Client {
	s.t.Helper()
	c, err := kube.NewForConfig(s.Config())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// Config is how to connect to the double.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: s.http.URL, QPS: -1} }

// SetVersion sets what the API server says it is, e.g. "v1.28.15".
func (s *Server) SetVersion(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = v
}

// Put stores the object in the YAML document.
func (s *Server) Put(document string) {
	s.t.Helper()
	var object map[string]any
	if err := decode([]byte(document), &object); err != nil {
		s.t.Fatalf("%v in:\n%s", err, document)
	}
	if len(object) == 0 {
		return
	}
	u := unstructured.Unstructured{Object: object}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[pathOf(u)] = object
}

// Object returns the stored object at an API path, or nil.
func (s *Server) Object(at string) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := s.objects[at]
	if object == nil {
		return nil
	}
	return (&unstructured.Unstructured{Object: object}).DeepCopy()
}

// Delete removes the object at an API path.
func (s *Server) Delete(at string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, at)
}

// Changes returns the requests that changed something or, as dry runs, would have.
func (s *Server) Changes() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.changes)
}

// OnChange calls do after each request that would change something, with its number, from 1.
func (s *Server) OnChange(do func(number int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onChange = do
}

// Refuse answers the next requests of method on paths that match pattern (see path.Match) with
// status; a negative number of times stands for all of them.
func (s *Server) Refuse(times int, method, pattern string, status metav1.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = append(s.refusals, refusal{method: method, pattern: pattern, times: times, status: status})
}

// Status makes the answer that the API server gives with an HTTP code, a reason and a message.
func Status(code int32, reason metav1.StatusReason, message string) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/version" {
		answer(w, http.StatusOK, map[string]any{"gitVersion": s.version})
		return
	}
	for i := range s.refusals {
		f := &s.refusals[i]
		if match, _ := path.Match(f.pattern, r.URL.Path); match && f.method == r.Method && f.times != 0 {
			f.times--
			answer(w, int(f.status.Code), f.status)
			return
		}
	}
	body := map[string]any{}
	if r.Method != http.MethodGet {
		raw, err := io.ReadAll(r.Body)
		if err == nil {
			err = decode(raw, &body)
		}
		if err != nil {
			fail(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		s.changes = append(s.changes, Request{Method: r.Method, Path: r.URL.Path, DryRun: dryRun(r), Body: body})
		if s.onChange != nil {
			number := len(s.changes)
			defer s.onChange(number)
		}
	}
	if at, ok := strings.CutSuffix(r.URL.Path, "/scale"); ok {
		s.scale(w, r, at, body)
		return
	}
	switch r.Method {
	case http.MethodGet:
		s.get(w, r)
	case http.MethodPost:
		s.create(w, r, body)
	case http.MethodPatch:
		s.patch(w, r, body)
	case http.MethodDelete:
		if _, ok := s.objects[r.URL.Path]; !ok {
			fail(w, notFound(r.URL.Path))
			return
		}
		delete(s.objects, r.URL.Path)
		answer(w, http.StatusOK, metav1.Status{Status: metav1.StatusSuccess})
	default:
		fail(w, apierrors.NewMethodNotSupported(groupResource(r.URL.Path), r.Method))
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	if object, ok := s.objects[r.URL.Path]; ok {
		answer(w, http.StatusOK, object)
		return
	}
	if isObject(r.URL.Path) {
		fail(w, notFound(r.URL.Path))
		return
	}
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		fail(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	fieldSelector, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		fail(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	items := []any{}
	for _, at := range slices.Sorted(maps.Keys(s.objects)) {
		u := unstructured.Unstructured{Object: s.objects[at]}
		inList := path.Dir(at) == r.URL.Path || inAllNamespaces(at) == r.URL.Path
		if inList && selector.Matches(labels.Set(u.GetLabels())) && fieldSelector.Matches(involved(u)) {
			items = append(items, u.Object)
		}
	}
	list := map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": "1"}, "items": items}
	if len(items) > 0 {
		// A typed client reads a list of its own kind only.
		first := unstructured.Unstructured{Object: items[0].(map[string]any)}
		list["apiVersion"], list["kind"] = first.GetAPIVersion(), first.GetKind()+"List"
	}
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
		list["apiVersion"], list["kind"] = "meta.k8s.io/v1", "PartialObjectMetadataList"
		for i, item := range items {
			items[i] = map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": item.(map[string]any)["metadata"]}
		}
	}
	answer(w, http.StatusOK, list)
}

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
	apply := strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch")
	if live == nil && !apply {
		fail(w, notFound(r.URL.Path))
		return
	}
	s.store(w, r, r.URL.Path, merge(live, body), http.StatusOK)
}

func (s *Server) store(w http.ResponseWriter, r *http.Request, at string, object map[string]any, code int) {
	u := unstructured.Unstructured{Object: object}
	if namespace := namespaceOf(at); namespace != "" {
		if s.objects["/api/v1/namespaces/"+namespace] == nil {
			fail(w, notFound("/api/v1/namespaces/"+namespace))
			return
		}
		u.SetNamespace(namespace)
	}
	if !dryRun(r) {
		s.objects[at] = object
	}
	answer(w, code, object)
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
	answer(w, http.StatusOK, map[string]any{
		"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": object["metadata"],
		"spec": object["spec"], "status": object["status"],
	})
}

// decode reads YAML as Kubernetes does: whole numbers stay whole.
func decode(raw []byte, into *map[string]any) error {
	raw, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return err
	}
	return utiljson.Unmarshal(raw, into)
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

// involved gives the fields that the code under test selects by.
func involved(u unstructured.Unstructured) fields.Set {
	name, _, _ := unstructured.NestedString(u.Object, "involvedObject", "name")
	kind, _, _ := unstructured.NestedString(u.Object, "involvedObject", "kind")
	return fields.Set{"metadata.name": u.GetName(), "involvedObject.name": name, "involvedObject.kind": kind}
}

func dryRun(r *http.Request) bool { return r.URL.Query().Get("dryRun") == metav1.DryRunAll }

func notFound(at string) *apierrors.StatusError {
	return apierrors.NewNotFound(groupResource(at), path.Base(at))
}

func fail(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	answer(w, int(status.Code), status)
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(fmt.Sprintf("encode an answer: %v", err))
	}
}
