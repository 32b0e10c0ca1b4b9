// Package kubetest is a small double of the Kubernetes API for unit tests.
//
// It stores objects, merges what is applied, honours dry runs, selectors, pages, versions of objects and field
// managers, and answers over HTTP, so that the real client and its real errors are used. It does not validate, default,
// authorize, admit or watch: a test that needs a refusal says by Refuse which words the API server would use. A test in
// test/e2e sends the same requests to it and to a real API server.
package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
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
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	owners   map[string]owners
	versions map[string]string
	revision int
	refusals []refusal
	judge    func(Request) *metav1.Status
	version  string
	changes  []Request
	onChange func(number int)
	crowds   map[string]*crowd
	lists    []Listing
	kinds    []schema.GroupVersionKind
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
	s := &Server{
		t: t, objects: map[string]map[string]any{}, owners: map[string]owners{}, versions: map[string]string{},
		version: "v1.34.4",
	}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(document, true)
}

// PutMeanwhile is Put for a function that Judge calls, while the double is locked: the object is there before the request
// that is judged is answered.
func (s *Server) PutMeanwhile(document string) {
	s.t.Helper()
	s.write(document, true)
}

// Replace stores the object in the YAML document unless it is gone, and reports whether it was there.
func (s *Server) Replace(document string) bool {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(document, false)
}

// write stores an object, a new one only if that is wanted. The caller has the lock.
func (s *Server) write(document string, create bool) bool {
	s.t.Helper()
	var object map[string]any
	if err := decode([]byte(document), &object); err != nil {
		s.t.Fatalf("%v in:\n%s", err, document)
	}
	if len(object) == 0 {
		return false
	}
	at := pathOf(unstructured.Unstructured{Object: object})
	if _, there := s.objects[at]; !there && !create {
		return false
	}
	s.objects[at] = object
	s.newVersion(at)
	delete(s.owners, at)
	return true
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

// Judge asks judge about each request that would change something: what it returns is the answer, unless that is nil.
func (s *Server) Judge(judge func(Request) *metav1.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = judge
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
		request := Request{Method: r.Method, Path: r.URL.Path, DryRun: dryRun(r), Body: body}
		s.changes = append(s.changes, request)
		if s.onChange != nil {
			number := len(s.changes)
			defer s.onChange(number)
		}
		if s.judge != nil {
			if status := s.judge(request); status != nil {
				answer(w, int(status.Code), *status)
				return
			}
		}
	}
	if s.serveKinds(w, r) || s.serveCrowd(w, r) {
		return
	}
	if at, ok := strings.CutSuffix(r.URL.Path, "/scale"); ok {
		s.scale(w, r, at, body)
		return
	}
	if at, ok := strings.CutSuffix(r.URL.Path, "/log"); ok {
		s.log(w, at)
		return
	}
	switch r.Method {
	case http.MethodGet:
		s.get(w, r)
	case http.MethodPost:
		s.create(w, r, body)
	case http.MethodPatch:
		s.patch(w, r, body)
	case http.MethodPut:
		s.update(w, r, body)
	case http.MethodDelete:
		s.remove(w, r, body)
	default:
		fail(w, apierrors.NewMethodNotSupported(groupResource(r.URL.Path), r.Method))
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	if object, ok := s.objects[r.URL.Path]; ok {
		object = s.versioned(r.URL.Path, object)
		if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
			object = map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
				"metadata": object["metadata"]}
		}
		answer(w, http.StatusOK, object)
		return
	}
	if isObject(r.URL.Path) {
		fail(w, notFound(r.URL.Path))
		return
	}
	s.list(w, r)
}

// LogAnnotation, on a pod of the double, is what its containers have written.
const LogAnnotation = "kubetest/log"

// log answers with the log of the pod at an API path.
func (s *Server) log(w http.ResponseWriter, at string) {
	pod, ok := s.objects[at]
	if !ok {
		fail(w, notFound(at))
		return
	}
	text := (&unstructured.Unstructured{Object: pod}).GetAnnotations()[LogAnnotation]
	if _, err := io.WriteString(w, text); err != nil {
		panic(fmt.Sprintf("write a log: %v", err))
	}
}

// decode reads YAML as Kubernetes does: whole numbers stay whole.
func decode(raw []byte, into *map[string]any) error {
	raw, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return err
	}
	return utiljson.Unmarshal(raw, into)
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
