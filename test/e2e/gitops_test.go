//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/chart"
)

// gitOps applies a rendered release as ArgoCD does, which has no Helm in the cluster: it makes no difference between an
// install and an upgrade, so it runs the hooks of both on every sync, waits for each wave of them, then for everything
// of the main phase to be healthy, and heeds the hooks' delete policies.
type gitOps struct {
	*release
	rendered *chart.Rendered
	// before is what was synced last. What is no longer rendered is pruned.
	before *gitOps
}

// The objects of the chart, applied in ArgoCD's order by server-side apply, become a platform that works, and applying
// them again changes nothing.
func TestGitOps(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	s := r.gitOps(t, nil)
	t.Cleanup(func() {
		r.purge(t)
		s.deleteClusterScoped(t)
	})
	r.createNamespace(t, nil)

	t.Logf("first sync: %s", s.run(t))
	session := r.login(t)
	r.createWorkspace(t, session, "by-gitops")

	versions, pods, secrets := s.settled(t), r.podIdentities(t), r.secretData(t)
	t.Logf("second sync: %s", s.run(t))
	if diff := gocmp.Diff(versions, s.versions(t)); diff != "" {
		t.Errorf("the second sync changed objects (resource versions before and after):\n%s", diff)
	}
	if diff := gocmp.Diff(pods, r.podIdentities(t)); diff != "" {
		t.Errorf("the second sync replaced pods:\n%s", diff)
	}
	if diff := gocmp.Diff(secrets, r.secretData(t)); diff != "" {
		t.Errorf("the second sync changed Secrets:\n%s", redact(diff))
	}
	r.login(t)

	// The operator and its definitions leave the render. Pruning the definitions would delete every database.
	kept := s.data(t)
	without := r.gitOps(t, map[string]any{"cloudnative-pg": map[string]any{"enabled": false}})
	without.before = s
	t.Logf("sync without the operator: %s", without.run(t))
	if diff := gocmp.Diff(kept, s.data(t)); diff != "" {
		t.Errorf("the sync without the operator pruned data:\n%s", diff)
	}
	if diff := gocmp.Diff(secrets, r.secretData(t)); diff != "" {
		t.Errorf("the sync without the operator changed Secrets:\n%s", redact(diff))
	}
	r.login(t)
}

// gitOps renders the release's chart as ArgoCD does, which asks no cluster.
func (r *release) gitOps(t *testing.T, values map[string]any) *gitOps {
	t.Helper()
	loaded, err := chart.Load(r.chart)
	if err != nil {
		t.Fatal(err)
	}
	options := chart.Options{Release: r.name, Namespace: r.namespace, Kubernetes: r.kubernetes(t), Values: values}
	rendered, err := chart.Render(loaded, options)
	if err != nil {
		t.Fatal(err)
	}
	return &gitOps{release: r, rendered: rendered}
}

func (s *gitOps) run(t *testing.T) time.Duration {
	t.Helper()
	started := time.Now()
	s.hooks(t, helmrelease.HookPreInstall, helmrelease.HookPreUpgrade)
	s.prune(t)
	for _, object := range s.rendered.Main() {
		s.apply(t, object)
	}
	s.healthy(t)
	s.hooks(t, helmrelease.HookPostInstall, helmrelease.HookPostUpgrade)
	return time.Since(started).Round(100 * time.Millisecond)
}

func (s *gitOps) apply(t *testing.T, object chart.Object) {
	t.Helper()
	options := metav1.ApplyOptions{FieldManager: "argocd-controller", Force: true}
	if _, err := s.clientFor(t, object.Unstructured, s.namespace).Apply(t.Context(), object.GetName(), object.Unstructured, options); err != nil {
		t.Fatalf("apply %s: %v", object, err)
	}
}

// prune deletes what was synced before and is no longer rendered. As ArgoCD's sync engine does, it looks at the object
// in the cluster for the option that keeps it, and at nothing else.
func (s *gitOps) prune(t *testing.T) {
	t.Helper()
	if s.before == nil {
		return
	}
	rendered := map[string]bool{}
	for _, object := range s.rendered.Main() {
		rendered[object.String()] = true
	}
	pruned := 0
	for _, object := range s.before.rendered.Main() {
		if rendered[object.String()] {
			continue
		}
		live, err := s.clientFor(t, object.Unstructured, s.namespace).Get(t.Context(), object.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			t.Fatalf("prune %s: %v", object, err)
		}
		options := strings.Split(live.GetAnnotations()["argocd.argoproj.io/sync-options"], ",")
		for i := range options {
			options[i] = strings.TrimSpace(options[i])
		}
		if slices.Contains(options, "Prune=false") {
			continue
		}
		s.remove(t, object)
		pruned++
	}
	if pruned == 0 {
		t.Fatal("nothing left the render")
	}
}

// data are the objects that hold data or that data depends on, by their identity.
func (s *gitOps) data(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(resource schema.GroupVersionResource, namespace string) {
		list, err := s.dynamic.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatalf("list %s: %v", resource.Resource, err)
		}
		for _, object := range list.Items {
			if resource != crds || strings.HasSuffix(object.GetName(), operatorGroup) {
				found[resource.Resource+" "+object.GetNamespace()+"/"+object.GetName()] = string(object.GetUID())
			}
		}
		if len(list.Items) == 0 {
			t.Fatalf("there are no %s in namespace %q", resource.Resource, namespace)
		}
	}
	claims := schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	add(crds, "")
	add(clusters, s.namespace)
	add(claims, s.namespace)
	add(claims, s.namespace+"-workspaces")
	return found
}

// hooks runs what belongs to any of the events, one weight after the other.
func (s *gitOps) hooks(t *testing.T, events ...helmrelease.HookEvent) {
	t.Helper()
	var hooks []chart.Object
	for _, object := range s.rendered.Objects {
		if slices.ContainsFunc(events, object.Hook.On) {
			hooks = append(hooks, object)
		}
	}
	slices.SortStableFunc(hooks, func(a, b chart.Object) int {
		return cmp.Or(cmp.Compare(a.Hook.Weight, b.Hook.Weight), cmp.Compare(a.GetName(), b.GetName()))
	})
	for _, hook := range hooks {
		if slices.Contains(hook.Hook.DeletePolicies, helmrelease.HookBeforeHookCreation) {
			s.remove(t, hook)
		}
		s.apply(t, hook)
		if hook.GetKind() == "Job" {
			s.complete(t, s.namespaceOf(hook), hook.GetName())
		}
	}
	for _, hook := range slices.Backward(hooks) {
		if slices.Contains(hook.Hook.DeletePolicies, helmrelease.HookSucceeded) {
			s.remove(t, hook)
		}
	}
}

func (s *gitOps) namespaceOf(object chart.Object) string {
	return cmp.Or(object.GetNamespace(), s.namespace)
}

// remove deletes an object, if it is there, and waits until it is gone.
func (s *gitOps) remove(t *testing.T, object chart.Object) {
	t.Helper()
	client := s.clientFor(t, object.Unstructured, s.namespace)
	background := metav1.DeletePropagationBackground
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return apierrors.IsNotFound(client.Delete(ctx, object.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})), nil
	})
	if err != nil {
		t.Fatalf("remove %s: %v", object, err)
	}
}

// complete waits for a Job to end well, and ends the test with its last words if it fails.
func (s *gitOps) complete(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, 8*time.Minute, "Job "+name+" complete", func(ctx context.Context) (bool, string) {
		job, err := s.client.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, condition := range job.Status.Conditions {
			if condition.Status != corev1.ConditionTrue {
				continue
			}
			switch condition.Type {
			case batchv1.JobComplete:
				return true, ""
			case batchv1.JobFailed:
				t.Fatalf("Job %s failed: %s: %s", name, condition.Message, s.termination(ctx, name))
			}
		}
		return false, fmt.Sprintf("%+v", job.Status)
	})
}

// healthy waits for what ArgoCD calls healthy: Jobs complete, Deployments rolled out, claims bound.
func (s *gitOps) healthy(t *testing.T) {
	t.Helper()
	for _, object := range s.rendered.Main() {
		switch object.GetKind() {
		case "Job":
			s.complete(t, s.namespaceOf(object), object.GetName())
		case "PersistentVolumeClaim":
			eventually(t, 3*time.Minute, object.String()+" bound", func(ctx context.Context) (bool, string) {
				claim, err := s.client.CoreV1().PersistentVolumeClaims(s.namespaceOf(object)).Get(ctx, object.GetName(), metav1.GetOptions{})
				if err != nil {
					return false, err.Error()
				}
				return claim.Status.Phase == corev1.ClaimBound, string(claim.Status.Phase)
			})
		}
	}
	s.waitDeployments(t)
}

// versions are the resource versions of the objects of the main phase.
func (s *gitOps) versions(t *testing.T) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, object := range s.rendered.Main() {
		live, err := s.clientFor(t, object.Unstructured, s.namespace).Get(t.Context(), object.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		versions[object.String()] = live.GetResourceVersion()
	}
	return versions
}

// settled are the versions once controllers have written the last status.
func (s *gitOps) settled(t *testing.T) map[string]string {
	t.Helper()
	last := s.versions(t)
	eventually(t, time.Minute, "the objects stay as they are", func(context.Context) (bool, string) {
		now := s.versions(t)
		diff := gocmp.Diff(last, now)
		last = now
		return diff == "", diff
	})
	return last
}

// deleteClusterScoped removes what no namespace took with it.
func (s *gitOps) deleteClusterScoped(t *testing.T) {
	t.Helper()
	for _, object := range s.rendered.Main() {
		if object.GetNamespace() != "" || object.GetKind() == "CustomResourceDefinition" || object.GetKind() == "Namespace" {
			continue
		}
		mapping, err := s.mapper.RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
		if err != nil || mapping.Scope.Name() == "namespace" {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.dynamic.Resource(mapping.Resource).Delete(ctx, object.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s: %v", object, err)
		}
	}
}
