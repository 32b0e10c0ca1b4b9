//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"

	"context"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/load"
	"github.com/neutree-ai/packaging/internal/rbac"
)

// installer is the user that has nothing but the roles of `helm neutree rbac`.
const installer = "nap-installer"

// With those roles alone a release lives its whole life under both Helms; each right was used, or is granted by a role
// of the release; and without one of them it does not work.
func TestLeastRoles(t *testing.T) {
	env := newEnvironment(t)
	needs := map[rbac.Right]rbac.Need{}
	for _, helm := range []struct{ name, path string }{{"Helm 3", env.helm3}, {"Helm 4", env.helm4}} {
		t.Run(helm.name, func(t *testing.T) {
			r := env.release(helm.path, "neutree", "nap")
			t.Cleanup(func() { r.purge(t) })
			// The namespaces come first: what the chart needs depends on whether they exist.
			subject, _ := r.rights(t)
			var namespaces bytes.Buffer
			if err := rbac.WriteNamespaces(&namespaces, subject.Requirements); err != nil {
				t.Fatal(err)
			}
			r.applyAll(t, &namespaces)
			subject, all := r.rights(t)
			for _, need := range all {
				needs[need.Right] = need
			}
			if helm.path == env.helm4 {
				for _, without := range []rbac.Right{
					{Verb: "get", Resource: "namespaces", Name: "kube-system"},                                  // a template looks it up
					{Verb: "create", Group: "networking.k8s.io", Resource: "networkpolicies", Namespace: "nap"}, // Helm makes them
					{Verb: "list", Group: "storage.k8s.io", Resource: "storageclasses"},                         // a role of the release grants it
				} {
					r.wantNeeded(t, subject, all, without)
				}
			}
			r.allow(t, subject, all)
			r.live(t)
		})
	}
	if log := os.Getenv("AUDIT_LOG"); log != "" {
		wantUsed(t, log, needs)
	}
}

// live takes a release through its life as the installer.
func (r *release) live(t *testing.T) {
	step := func(limit time.Duration, args ...string) {
		t.Helper()
		got := r.asInstaller(t, limit, args...)
		if got.err != nil {
			r.dump(t)
			t.Fatalf("helm %s: %v after %s\n%s", strings.Join(args, " "), got.err, got.took, got.output)
		}
		t.Logf("helm %s: %s", args[0], got.took)
	}
	step(6*time.Minute, "upgrade", "--install", r.name, r.chart, "--wait", "--timeout", "5m")
	// The log of a failed hook is what tells why.
	wantRefused(t, r.asInstaller(t, time.Minute, "upgrade", r.name, r.chart, "--set", "global.storage.shared.storageClass=no-such-class"), time.Minute, "no-such-class")
	// Every object changes. Helm 4.0 to 4.2 list before they watch; so does this one if told to.
	t.Setenv("KUBE_FEATURE_WatchListClient", "false")
	step(6*time.Minute, "upgrade", r.name, r.chart, "--wait", "--timeout", "5m", "--set", "global.commonLabels.changed=yes")
	step(4*time.Minute, "rollback", r.name, "1", "--wait", "--timeout", "3m")
	step(4*time.Minute, "uninstall", r.name, "--wait", "--timeout", "3m")
}

func (r *release) asInstaller(t *testing.T, limit time.Duration, args ...string) result {
	t.Helper()
	return r.run(t.Context(), limit, slices.Concat(args, []string{"--namespace", r.namespace, "--kube-as-user", installer})...)
}

func (r *release) rights(t *testing.T) (*preflight.Subject, []rbac.Need) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := load.Subject(t.Context(), load.Options{
		Config: config, Release: r.name, Namespace: r.namespace, Chart: r.chart, Checks: preflight.Options{NoPods: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := subject.Cluster.Mapper(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	needs, err := rbac.Needs(subject.Requirements, nil, mapper)
	if err != nil {
		t.Fatal(err)
	}
	return subject, needs
}

// allow applies the roles of the needs, and takes them away in the end.
func (r *release) allow(t *testing.T, subject *preflight.Subject, needs []rbac.Need) {
	t.Helper()
	var text bytes.Buffer
	options := rbac.Options{Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: installer}}}
	if err := rbac.Write(&text, subject.Requirements, needs, options); err != nil {
		t.Fatal(err)
	}
	r.applyAll(t, &text)
	for _, need := range needs {
		if need.URL == "" {
			r.awaitRight(t, need.Right, true)
		}
	}
}

// applyAll applies the documents of a text, and deletes what they name in the end.
func (r *release) applyAll(t *testing.T, text io.Reader) {
	t.Helper()
	documents := yaml.NewYAMLOrJSONDecoder(text, 1<<16)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(object); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue
		}
		client := r.clientFor(t, object, object.GetNamespace())
		if _, err := client.Apply(t.Context(), object.GetName(), object, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
			t.Fatalf("apply %s %s: %v", object.GetKind(), object.GetName(), err)
		}
		t.Cleanup(func() { _ = client.Delete(context.Background(), object.GetName(), metav1.DeleteOptions{}) })
	}
}

// awaitRight waits until the API server's authorizer knows of a change.
func (r *release) awaitRight(t *testing.T, right rbac.Right, want bool) {
	t.Helper()
	resource, sub, _ := strings.Cut(right.Resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: installer, ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: right.Verb, Group: right.Group, Resource: resource, Subresource: sub, Namespace: right.Namespace, Name: right.Name}}}
	eventually(t, 20*time.Second, right.String(), func(ctx context.Context) (bool, string) {
		answer, err := r.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return false, err.Error()
		}
		return answer.Status.Allowed == want, answer.Status.Reason
	})
}

// wantNeeded takes one right away and asserts that an install fails for the lack of it.
func (r *release) wantNeeded(t *testing.T, subject *preflight.Subject, needs []rbac.Need, without rbac.Right) {
	t.Helper()
	left := slices.DeleteFunc(slices.Clone(needs), func(n rbac.Need) bool { return n.Right == without })
	if len(left) != len(needs)-1 {
		t.Fatalf("%s is not among the rights", without)
	}
	r.allow(t, subject, left)
	r.awaitRight(t, without, false)
	got := r.asInstaller(t, 2*time.Minute, "upgrade", "--install", r.name, r.chart, "--timeout", "1m")
	wantRefused(t, got, 2*time.Minute, "forbidden")
}

// wantUsed asserts that the API server was asked for each right by the installer.
func wantUsed(t *testing.T, path string, needs map[rbac.Right]rbac.Need) {
	t.Helper()
	used := usedRights(t, path)
	granted, idle := 0, 0
	for right, need := range needs {
		switch {
		case need.Granted:
			granted++
		case !slices.ContainsFunc(used, right.Covers):
			idle++
			t.Errorf("nobody used the right to %s (%s)", right, need.Why)
		}
	}
	t.Logf("%d rights: %d used by Helm, %d granted by roles of the release", len(needs), len(needs)-granted-idle, granted)
}

func usedRights(t *testing.T, path string) []rbac.Right {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var used []rbac.Right
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb             string
			ImpersonatedUser struct{ Username string }
			ObjectRef        struct{ APIGroup, Resource, Subresource, Namespace, Name string }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		ref := event.ObjectRef
		if event.ImpersonatedUser.Username != installer || ref.Resource == "" {
			continue
		}
		right := rbac.Right{Verb: event.Verb, Group: ref.APIGroup, Resource: ref.Resource, Namespace: ref.Namespace, Name: ref.Name}
		if ref.Subresource != "" {
			right.Resource += "/" + ref.Subresource
		}
		if ref.Resource == "namespaces" {
			right.Namespace = ""
		}
		if !slices.Contains(used, right) {
			used = append(used, right)
		}
	}
	return used
}
