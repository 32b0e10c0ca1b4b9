package kube_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

func TestListsArePaged(t *testing.T) {
	const number = 2*kube.PageSize + 7
	server := kubetest.New(t)
	server.Crowd(number, "apiVersion: v1\nkind: Secret\n"+
		"metadata: {name: token, namespace: ws, labels: {app: tos}}\ndata: {a: YQ==}\n")
	client := server.Client()
	options := metav1.ListOptions{LabelSelector: "app=tos"}
	want := []kubetest.Listing{}
	for _, items := range []int{kube.PageSize, kube.PageSize, 7} {
		want = append(want, kubetest.Listing{Path: "/api/v1/namespaces/ws/secrets", Limit: kube.PageSize, Items: items})
	}

	secrets, err := kube.List[corev1.Secret](t.Context(), client, kube.Secrets, "ws", options)
	if err != nil || len(secrets) != number || secrets[number-1].Name != "token-506" ||
		string(secrets[0].Data["a"]) != "a" {
		t.Errorf("%d Secrets, %v, want %d", len(secrets), err, number)
	}
	if got := server.Lists(); !slices.Equal(got, want) {
		t.Errorf("lists %v, want %v", got, want)
	}
	untyped, err := client.ListUnstructured(t.Context(), kube.Secrets, "ws", options)
	if err != nil || len(untyped) != number || untyped[0].GetKind() != "Secret" {
		t.Errorf("%d untyped Secrets, %v, want %d", len(untyped), err, number)
	}
	metadata, err := client.ListMetadata(t.Context(), kube.Secrets, "ws", options)
	if err != nil || len(metadata) != number || metadata[1].Name != "token-1" {
		t.Errorf("the metadata of %d Secrets, %v, want %d", len(metadata), err, number)
	}
	for _, list := range server.Lists() {
		if list.Limit != kube.PageSize || list.Items > kube.PageSize {
			t.Errorf("a list that is not paged: %+v", list)
		}
	}
	if last := server.Lists()[8]; !last.Metadata {
		t.Errorf("the content of Secrets was asked for: %+v", last)
	}
}

func TestListKeepsTheAPIServersWords(t *testing.T) {
	const denied = `secrets is forbidden: User "u" cannot list resource "secrets" in API group "" in the namespace "ws"`
	server := kubetest.New(t)
	server.Refuse(-1, "GET", "/api/v1/namespaces/ws/secrets", kubetest.Status(403, metav1.StatusReasonForbidden, denied))
	_, err := server.Client().ListMetadata(t.Context(), kube.Secrets, "ws", metav1.ListOptions{})
	if got, want := kube.MissingPermission(err), "u may not list secrets in namespace ws"; got != want {
		t.Errorf("%v: %q, want %q", err, got, want)
	}
}

// What a page's token stands for is forgotten after some minutes.
func TestListContinuesWhenItsTokenHasExpired(t *testing.T) {
	for name, tc := range map[string]struct {
		rest string
		want []string
		err  string
	}{
		"the API server offers the rest as it is now": {rest: "fresh", want: []string{"a", "c"}},
		"it does not": {want: []string{"a"}, err: "too old"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch r.URL.Query().Get("continue") {
				case "":
					_, _ = fmt.Fprint(w, `{"metadata":{"continue":"old"},"items":[{"metadata":{"name":"a"}}]}`)
				case "fresh":
					_, _ = fmt.Fprint(w, `{"metadata":{},"items":[{"metadata":{"name":"c"}}]}`)
				default:
					status := kubetest.Status(http.StatusGone, metav1.StatusReasonExpired, "the token is too old")
					status.Continue = tc.rest
					w.WriteHeader(http.StatusGone)
					_ = json.NewEncoder(w).Encode(status)
				}
			}))
			defer server.Close()
			client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			err = client.EachMetadata(t.Context(), kube.Pods, "ws", metav1.ListOptions{},
				func(pod *metav1.PartialObjectMetadata) { names = append(names, pod.Name) })
			if !slices.Equal(names, tc.want) || (err == nil) != (tc.err == "") ||
				err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%v, %v, want %v and an error with %q", names, err, tc.want, tc.err)
			}
		})
	}
}

// This server answers none of the requests before so many are under way.
func TestManyAtOnce(t *testing.T) {
	var mu sync.Mutex
	waiting, most := 0, 0
	all := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		waiting++
		most = max(most, waiting)
		if waiting == kube.Workers {
			select {
			case <-all:
			default:
				close(all)
			}
		}
		mu.Unlock()
		select {
		case <-all:
		case <-r.Context().Done():
		}
		mu.Lock()
		waiting--
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{}`)
	}))
	defer server.Close()
	client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	const number = 10 * kube.Workers
	errs := make([]error, number)
	patch := map[string]any{"spec": map[string]any{"replicas": 0}}
	left := kube.Many(t.Context(), client, upTo(number), func(client *kube.Client, i int) {
		errs[i] = client.Merge(t.Context(), kube.Deployments, "ws", fmt.Sprintf("tos-%d", i), patch)
	})
	for i, err := range errs {
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if left != 0 || most != kube.Workers {
		t.Errorf("%d of %d requests are left, at most %d were sent at once, want %d", left, number, most, kube.Workers)
	}
}

// upTo adds the numbers from 0.
func upTo(number int) func(add func(int)) {
	return func(add func(int)) {
		for i := range number {
			add(i)
		}
	}
}

func TestManyEndsWithItsContext(t *testing.T) {
	client, err := kube.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	const number = 10 * kube.Workers
	// Each worker may be at one when ctx ends.
	left := kube.Many(ctx, client, upTo(number), func(*kube.Client, int) { cancel() })
	if left < number-kube.Workers || left >= number {
		t.Errorf("%d of %d are left", left, number)
	}
}
