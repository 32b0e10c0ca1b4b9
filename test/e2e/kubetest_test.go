//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	asMerge    = "application/merge-patch+json"
	asApply    = "application/apply-patch+yaml"
	asJSON     = "application/json"
	asMetadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)

// request is one that is sent to both. NS in path and body stands for the namespace of the test.
type request struct {
	name, method, path string
	// as is the type of the body, or of the answer that is asked for.
	as, body, accept string
	// compare are the parts of the answer that must be alike, besides its status code.
	compare []string
}

var (
	refused = []string{"kind", "apiVersion", "status", "reason", "code", "message", "details.name", "details.kind",
		"details.group"}
	settings = []string{"kind", "apiVersion", "metadata.name", "metadata.labels", "data"}
	listed   = []string{"items.metadata.name", "metadata.continue?"}
)

const core, apps = "/api/v1/namespaces/NS", "/apis/apps/v1/namespaces/NS"

// requests are what the code of this repository sends, one after the other.
var requests = []request{
	{name: "get what is not there", method: "GET", path: core + "/configmaps/a", compare: refused},
	{name: "get a namespace that is not there", method: "GET", path: "/api/v1/namespaces/NS-none", compare: refused},
	{name: "get in a namespace that is not there", method: "GET", path: "/api/v1/namespaces/NS-none/secrets/a",
		compare: refused},
	{name: "list nothing", method: "GET", path: core + "/secrets?labelSelector=kubetest%3Dnone", compare: listed},
	{name: "create in a dry run", method: "POST", path: core + "/configmaps?dryRun=All&fieldManager=first",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "1"}}`, compare: settings},
	{name: "a dry run has stored nothing", method: "GET", path: core + "/configmaps/a", compare: refused},
	{name: "create", method: "POST", path: core + "/configmaps?fieldManager=first",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app: tos, part: one}}, data: {k: ` +
			`"1", l: "1"}}`, compare: settings},
	{name: "create what is there", method: "POST", path: core + "/configmaps",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}`, compare: refused},
	{name: "create what is there, in a dry run", method: "POST", path: core + "/configmaps?dryRun=All",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}`, compare: refused},
	{name: "create in a namespace that is not there", method: "POST", path: "/api/v1/namespaces/NS-none/configmaps",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}`, compare: refused},
	{name: "create b", method: "POST", path: core + "/configmaps",
		body:    `{apiVersion: v1, kind: ConfigMap, metadata: {name: b, labels: {app: tos, part: two}}}`,
		compare: settings},
	{name: "create c", method: "POST", path: core + "/configmaps",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {app: other}}}`, compare: settings},

	{name: "get", method: "GET", path: core + "/configmaps/a", compare: settings},
	{name: "list by a label", method: "GET", path: core + "/configmaps?labelSelector=app%3Dtos",
		compare: append(slices.Clone(listed), "kind", "apiVersion")},
	{name: "list by two labels", method: "GET", path: core +
		"/configmaps?labelSelector=app%3Dtos%2Cpart+notin+%28one%29", compare: listed},
	{name: "list by a name", method: "GET", path: core + "/configmaps?fieldSelector=metadata.name%3Db",
		compare: listed},
	{name: "list by a field that no list knows", method: "GET", path: core + "/configmaps?fieldSelector=data.k%3D1",
		compare: []string{"kind", "reason", "code"}},
	{name: "list by a selector that is none", method: "GET", path: core + "/configmaps?labelSelector=%3D%3D",
		compare: []string{"kind", "reason", "code"}},
	{name: "list a page", method: "GET", path: core + "/configmaps?limit=1&labelSelector=app", compare: listed},
	{name: "list the next page", method: "GET", path: core +
		"/configmaps?limit=1&labelSelector=app&continue=CONTINUE", compare: listed},
	// The API server may say that more comes where only what the selector leaves out does.
	{name: "list the last page", method: "GET", path: core +
		"/configmaps?limit=1&labelSelector=app&continue=CONTINUE", compare: []string{"items.metadata.name"}},
	{name: "list metadata", method: "GET", path: core + "/configmaps?labelSelector=app%3Dtos", accept: asMetadata,
		compare: append(slices.Clone(listed), "kind", "apiVersion", "items.metadata.labels", "items.data",
			"items.kind")},
	{name: "list in all namespaces", method: "GET",
		path:    "/api/v1/configmaps?labelSelector=app%3Dother&fieldSelector=metadata.namespace%3DNS",
		compare: append(slices.Clone(listed), "items.metadata.namespace")},

	{name: "merge", method: "PATCH", as: asMerge, path: core + "/configmaps/a?fieldManager=second",
		body: `{"metadata": {"labels": {"part": null, "new": "x"}}, "data": {"l": "2"}}`, compare: settings},
	{name: "merge into what is not there", method: "PATCH", as: asMerge, path: core + "/configmaps/none",
		body: `{"data": {"l": "2"}}`, compare: refused},
	{name: "merge in a dry run", method: "PATCH", as: asMerge, path: core + "/configmaps/a?dryRun=All",
		body: `{"data": {"l": "9"}}`, compare: settings},

	{name: "apply over others", method: "PATCH", as: asApply, path: core + "/configmaps/a?fieldManager=third",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "3", l: "3", m: "3"}}`,
		compare: append(slices.Clone(refused), "details.causes.field", "details.causes.message",
			"details.causes.reason")},
	{name: "apply what others have set alike", method: "PATCH", as: asApply, path: core +
		"/configmaps/a?fieldManager=third",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "1", m: "3"}}`, compare: settings},
	{name: "apply by force in a dry run", method: "PATCH", as: asApply, path: core +
		"/configmaps/a?fieldManager=third&force=true&dryRun=All",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "4", l: "4"}}`, compare: settings},
	{name: "the dry run has changed nothing", method: "GET", path: core + "/configmaps/a", compare: settings},
	{name: "apply by force", method: "PATCH", as: asApply, path: core +
		"/configmaps/a?fieldManager=third&force=true",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "4", l: "4"}}`, compare: settings},
	{name: "apply no longer", method: "PATCH", as: asApply, path: core +
		"/configmaps/a?fieldManager=third&force=true",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "4"}}`, compare: settings},
	{name: "the first manager applies what the third has", method: "PATCH", as: asApply, path: core +
		"/configmaps/a?fieldManager=first",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: "5"}}`,
		compare: append(slices.Clone(refused), "details.causes.field", "details.causes.message",
			"details.causes.reason")},
	{name: "apply what is not there", method: "PATCH", as: asApply, path: core +
		"/configmaps/d?fieldManager=third&force=true",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: d}, data: {k: "1"}}`, compare: settings},
	{name: "apply where no namespace is", method: "PATCH", as: asApply,
		path: "/api/v1/namespaces/NS-none/configmaps/d?fieldManager=third&force=true",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: d}}`, compare: refused},

	{name: "replace", method: "PUT", path: core + "/configmaps/b?fieldManager=first",
		body: `{apiVersion: v1, kind: ConfigMap, metadata: {name: b, resourceVersion: "VERSION"}, data: {only: ` +
			`this}}`, compare: settings},
	{name: "replace an older version", method: "PUT", path: core + "/configmaps/b",
		body:    `{apiVersion: v1, kind: ConfigMap, metadata: {name: b, resourceVersion: "1"}, data: {late: this}}`,
		compare: refused},
	{name: "replace what is not there", method: "PUT", path: core + "/configmaps/none",
		body:    `{apiVersion: v1, kind: ConfigMap, metadata: {name: none, resourceVersion: "1"}}`,
		compare: []string{"reason", "code"}},
	{name: "what was replaced", method: "GET", path: core + "/configmaps/b", compare: settings},

	{name: "create a Deployment", method: "POST", path: apps + "/deployments",
		body: `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, labels: {app: tos}}, spec: ` +
			`{replicas: 2, paused: true, selector: {matchLabels: {app: tos}}, template: {metadata: {labels: {app: ` +
			`tos}}, spec: {nodeSelector: {kubetest: none}, containers: [{name: c, image: i}]}}}}`,
		compare: []string{"kind", "spec.replicas", "spec.selector"}},
	{name: "scale", method: "PATCH", as: asMerge, path: apps + "/deployments/d/scale?fieldManager=nap-hooks",
		body: `{"spec": {"replicas": 0}}`, compare: []string{"kind", "apiVersion", "spec.replicas", "metadata.name"}},
	{name: "what was scaled", method: "GET", path: apps + "/deployments/d", compare: []string{"spec.replicas"}},
	{name: "read the scale", method: "GET", path: apps + "/deployments/d/scale", compare: []string{"kind",
		"apiVersion", "spec.replicas"}},
	{name: "scale what is not there", method: "PATCH", as: asMerge, path: apps + "/deployments/none/scale",
		body: `{"spec": {"replicas": 0}}`, compare: refused},
	{name: "get a Deployment that is not there", method: "GET", path: apps + "/deployments/none", compare: refused},

	{name: "list pods that have not ended", method: "GET", path: core +
		"/pods?labelSelector=app%3Dx&fieldSelector=status.phase%21%3DFailed%2Cstatus.phase%21%3DSucceeded",
		compare: listed},
	{name: "list pods that have", method: "GET", path: core + "/pods?fieldSelector=status.phase%3DFailed",
		compare: listed},
	{name: "list events on an object", method: "GET", path: core +
		"/events?fieldSelector=involvedObject.kind%3DPod%2CinvolvedObject.name%3Dnobody", compare: listed},
	{name: "list other events", method: "GET", path: core + "/events?fieldSelector=involvedObject.name%3Dnone",
		compare: listed},

	{name: "delete in a dry run", method: "DELETE", path: core + "/configmaps/c",
		body: `{"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}`, compare: []string{"kind", "status"}},
	{name: "the dry run has deleted nothing", method: "GET", path: core + "/configmaps/c", compare: settings},
	{name: "delete another version", method: "DELETE", path: core + "/configmaps/c",
		body:    `{"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}}`,
		compare: []string{"kind", "reason", "code", "details.name", "details.kind"}},
	{name: "delete another object of the name", method: "DELETE", path: core + "/configmaps/c",
		body:    `{"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "another"}}`,
		compare: []string{"kind", "reason", "code", "details.name", "details.kind"}},
	{name: "delete", method: "DELETE", path: core + "/configmaps/c",
		body:    `{"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}`,
		compare: []string{"kind", "status"}},
	{name: "delete what is not there", method: "DELETE", path: core + "/configmaps/c", compare: refused},
	{name: "a body that is none", method: "POST", path: core + "/configmaps", body: `[`, compare: []string{"kind",
		"reason", "code"}},
	{name: "a verb that no object knows", method: "TRACE", path: core + "/configmaps/a", compare: nil},
}

// objects are there before the first request. Their status no request of ours could set.
const objects = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: NS}}
---
{apiVersion: v1, kind: Pod, metadata: {name: ended, namespace: NS, labels: {app: x}},
  spec: {nodeSelector: {kubetest: none}, containers: [{name: c, image: i}]}, status: {phase: Failed}}
---
{apiVersion: v1, kind: Pod, metadata: {name: waits, namespace: NS, labels: {app: x}},
  spec: {nodeSelector: {kubetest: none}, containers: [{name: c, image: i}]}, status: {phase: Pending}}
---
{apiVersion: v1, kind: Event, metadata: {name: e, namespace: NS},
  involvedObject: {kind: Pod, name: nobody, namespace: NS}, reason: R, type: Normal}`

// The double of the API server that unit tests use answers the requests of our code as the API server does. It needs an
// API server only: no node, and nothing installed.
func TestTheDoubleAnswersLikeTheAPIServer(t *testing.T) {
	config, err := clientcmd.BuildConfigFromFlags("", variable(t, "KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	namespace := fmt.Sprintf("kubetest-%d", time.Now().UnixNano()%1e9)
	in := func(text string) string { return strings.ReplaceAll(text, "NS", namespace) }
	populate(t, config, namespace, in(objects))
	double := kubetest.New(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}", in(objects))

	real, fake := &server{t: t, config: config}, &server{t: t, config: double.Config()}
	for _, r := range requests {
		r.path, r.body = in(r.path), in(r.body)
		wantCode, want := real.send(r)
		gotCode, got := fake.send(r)
		if wantCode == http.StatusMethodNotAllowed && r.compare == nil {
			continue
		}
		if wantCode != gotCode {
			t.Errorf("%s: the API server answers %d, the double %d\n%v\n%v", r.name, wantCode, gotCode, want, got)
			continue
		}
		for _, part := range r.compare {
			want, got := at(want, part), at(got, part)
			if strings.HasPrefix(part, "details.causes") {
				// The API server lists them in any order.
				want, got = sorted(want), sorted(got)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s differs (-API server +double):\n%s", r.name, part, diff)
			}
		}
	}
}

// A refusal that a test puts into the double's mouth is one that the API server could speak: our code takes both alike.
func TestRefusalsOfTheDoubleAreReal(t *testing.T) {
	config, err := clientcmd.BuildConfigFromFlags("", variable(t, "KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	_, err = client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "Not A Name"}},
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	real, is := err.(apierrors.APIStatus)
	if !is || !apierrors.IsInvalid(err) {
		t.Fatalf("an object without a name that will do: %v", err)
	}
	double := kubetest.New(t, "{apiVersion: v1, kind: Namespace, metadata: {name: default}}")
	double.Refuse(1, "POST", "/api/v1/namespaces/default/configmaps", kubetest.Status(422,
		metav1.StatusReasonInvalid, real.Status().Message))
	client = kubernetes.NewForConfigOrDie(double.Config())
	_, err = client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	fake, is := err.(apierrors.APIStatus)
	if !is || !apierrors.IsInvalid(err) || err.Error() != real.Status().Message {
		t.Fatalf("the double: %v", err)
	}
	a, b := real.Status(), fake.Status()
	a.Details, b.Details = nil, nil
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("(-API server +double):\n%s", diff)
	}
}

// populate makes the namespace and what is in it, and removes both in the end.
func populate(t *testing.T, config *rest.Config, namespace, documents string) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(config)
	ctx := t.Context()
	t.Cleanup(func() {
		err := client.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete namespace %s: %v", namespace, err)
		}
	})
	if _, err := client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, config: config}
	for document := range strings.SplitSeq(documents, "\n---\n") {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatal(err)
		}
		resource := strings.ToLower(object.GetKind()) + "s"
		status, has := object.Object["status"]
		path := "/api/v1/namespaces/" + namespace + "/" + resource
		code, made := s.send(request{method: "POST", path: path, body: document})
		// The controller of ServiceAccounts may have been first.
		if code != http.StatusCreated && code != http.StatusConflict {
			t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), made)
		}
		if !has {
			continue
		}
		raw, err := json.Marshal(map[string]any{"status": status})
		if err != nil {
			t.Fatal(err)
		}
		if code, answer := s.send(request{method: "PATCH", as: asMerge, path: path + "/" + object.GetName() +
			"/status", body: string(raw)}); code != http.StatusOK {
			t.Fatalf("set the status of %s %s: %v", object.GetKind(), object.GetName(), answer)
		}
	}
}

// server is one of the two.
type server struct {
	t      *testing.T
	config *rest.Config
	// more is where the last list goes on, version that of the last object.
	more, version string
}

// send sends a request and returns the status code and the answer.
func (s *server) send(r request) (int, map[string]any) {
	s.t.Helper()
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	address, _, err := rest.DefaultServerUrlFor(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	path := strings.ReplaceAll(r.path, "CONTINUE", s.more)
	body := r.body
	if strings.Contains(body, "VERSION") {
		// That of the object which is to be replaced.
		at, _, _ := strings.Cut(r.path, "?")
		s.send(request{method: "GET", path: at})
		body = strings.ReplaceAll(body, "VERSION", s.version)
	}
	if body != "" && r.as == "" {
		// Comments and short forms are YAML's; every server takes JSON.
		if raw, err := yaml.YAMLToJSON([]byte(body)); err == nil {
			body = string(raw)
		}
	}
	ask, err := http.NewRequestWithContext(s.t.Context(), r.method, strings.TrimSuffix(address.String(), "/")+path,
		bytes.NewBufferString(body))
	if err != nil {
		s.t.Fatal(err)
	}
	ask.Header.Set("Content-Type", asJSON)
	if r.as != "" {
		ask.Header.Set("Content-Type", r.as)
	}
	ask.Header.Set("Accept", asJSON)
	if r.accept != "" {
		ask.Header.Set("Accept", r.accept)
	}
	ask.Header.Set("User-Agent", "kubetest/1")
	answer, err := client.Do(ask)
	if err != nil {
		s.t.Fatalf("%s: %v", r.name, err)
	}
	defer answer.Body.Close() //nolint:errcheck // It was only read.
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatalf("%s: %v", r.name, err)
	}
	var content map[string]any
	if err := json.Unmarshal(raw, &content); err != nil {
		content = map[string]any{"text": string(raw)}
	}
	s.more, _, _ = unstructured.NestedString(content, "metadata", "continue")
	s.version, _, _ = unstructured.NestedString(content, "metadata", "resourceVersion")
	return answer.StatusCode, content
}

// sorted puts a list of strings in order.
func sorted(value any) any {
	list, is := value.([]any)
	if !is {
		return value
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return list
}

// at is a part of an answer: "items.metadata.name" is that of each item, "metadata.continue?" whether it is there.
func at(content any, part string) any {
	if name, is := strings.CutSuffix(part, "?"); is {
		value := at(content, name)
		return value != nil && value != ""
	}
	key, rest, deeper := strings.Cut(part, ".")
	object, is := content.(map[string]any)
	if !is {
		return nil
	}
	value := object[key]
	if !deeper {
		return value
	}
	list, is := value.([]any)
	if !is {
		return at(value, rest)
	}
	var all []any
	for _, one := range list {
		all = append(all, at(one, rest))
	}
	return all
}
