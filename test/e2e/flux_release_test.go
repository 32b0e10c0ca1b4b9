//go:build e2e && gitops

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chartutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/test/docs"
)

var (
	helmReleases     = schema.GroupVersionResource{Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"}
	helmRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "helmrepositories"}
	helmCharts       = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "helmcharts"}
)

// flux is a release that Flux makes of a HelmRelease of the same name and namespace.
type flux struct {
	*release
	controllers *fluxControllers
}

// documented are the HelmRepository and the HelmRelease that docs/gitops.md shows.
func documented(t *testing.T) (repository, release *unstructured.Unstructured) {
	t.Helper()
	page, err := os.ReadFile("../../docs/gitops.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range docs.Blocks(string(page), "yaml") {
		decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(block), 4096)
		for {
			object := &unstructured.Unstructured{}
			err := decoder.Decode(&object.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("docs/gitops.md: %v in\n%s", err, block)
			}
			switch object.GetKind() {
			case "HelmRepository":
				repository = object
			case "HelmRelease":
				release = object
			}
		}
	}
	if repository == nil || release == nil {
		t.Fatal("docs/gitops.md shows no HelmRepository or no HelmRelease")
	}
	return repository, release
}

// create applies what the page shows, for a chart that the test's repository has, with values of the test's own.
func (f *flux) create(t *testing.T, path string, values map[string]any, change func(spec map[string]any)) {
	t.Helper()
	repository, release := documented(t)
	loaded, err := chart.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	release.SetName(f.name)
	for _, err := range []error{
		unstructured.SetNestedField(repository.Object, f.controllers.repository, "spec", "url"),
		unstructured.SetNestedField(release.Object, loaded.Metadata.Name, "spec", "chart", "spec", "chart"),
		unstructured.SetNestedField(release.Object, loaded.Metadata.Version, "spec", "chart", "spec", "version"),
		unstructured.SetNestedMap(release.Object, values, "spec", "values"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(release.Object["spec"].(map[string]any))
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	for _, object := range []*unstructured.Unstructured{repository, release} {
		object.SetNamespace(f.namespace)
		client := f.clientFor(t, object, f.namespace)
		if _, err := client.Apply(t.Context(), object.GetName(), object, options); err != nil {
			t.Fatalf("apply %s: %v", object.GetKind(), err)
		}
	}
}

func (f *flux) resource() dynamic.ResourceInterface {
	return f.dynamic.Resource(helmReleases).Namespace(f.namespace)
}

// change changes the HelmRelease, as a commit does that is pushed.
func (f *flux) change(t *testing.T, change func(spec map[string]any)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		object, err := f.resource().Get(t.Context(), f.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(object.Object["spec"].(map[string]any))
		_, err = f.resource().Update(t.Context(), object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatalf("change HelmRelease %s: %v", f.name, err)
	}
}

// upgradeTo gives the release other values, waits until it has them, and says how long that took.
func (f *flux) upgradeTo(t *testing.T, values map[string]any) time.Duration {
	t.Helper()
	f.change(t, func(spec map[string]any) { spec["values"] = values })
	took := f.awaitReady(t)
	t.Logf("upgraded after %s", took)
	return took
}

// awaitReady waits until Flux has done what the HelmRelease says.
func (f *flux) awaitReady(t *testing.T) time.Duration {
	t.Helper()
	return f.await(t, "HelmRelease "+f.name+" is ready", func(state fluxState) (bool, string) {
		// One that Flux gave up keeps that condition until Flux has seen the change.
		if stalled := state.condition("Stalled"); stalled.status == "True" && stalled.current {
			t.Fatalf("HelmRelease %s is stalled: %s", f.name, stalled.message)
		}
		ready := state.condition("Ready")
		return ready.status == "True" && ready.current, ready.reason + ": " + ready.message
	})
}

// awaitStalled waits until Flux has given up, and returns its last word and how long that took.
func (f *flux) awaitStalled(t *testing.T) (string, time.Duration) {
	t.Helper()
	var message string
	took := f.await(t, "HelmRelease "+f.name+" is stalled", func(state fluxState) (bool, string) {
		stalled, ready := state.condition("Stalled"), state.condition("Ready")
		message = ready.message
		return stalled.status == "True" && stalled.current, ready.reason + ": " + ready.message
	})
	return message, took
}

// reconcile asks Flux to look at the release now, as its interval does and `flux reconcile` too, and waits until it has.
func (f *flux) reconcile(t *testing.T) time.Duration {
	t.Helper()
	asked := f.request(t)
	return f.await(t, "HelmRelease "+f.name+" is reconciled", func(state fluxState) (bool, string) {
		handled, _, _ := unstructured.NestedString(state.Object, "status", "lastHandledReconcileAt")
		ready := state.condition("Ready")
		return handled == asked && ready.status == "True", ready.reason + ": " + ready.message
	})
}

func (f *flux) request(t *testing.T) string {
	t.Helper()
	asked := time.Now().Format(time.RFC3339Nano)
	patch := fmt.Appendf(nil, `{"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": %q}}}`, asked)
	if _, err := f.resource().Patch(t.Context(), f.name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	return asked
}

func (f *flux) await(t *testing.T, what string, done func(fluxState) (bool, string)) time.Duration {
	t.Helper()
	return eventually(t, 15*time.Minute, what, func(ctx context.Context) (bool, string) {
		object, err := f.resource().Get(ctx, f.name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		observed, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
		is, missing := done(fluxState{object})
		return is && observed == object.GetGeneration(), missing
	})
}

// fluxState is a HelmRelease as it was read.
type fluxState struct{ *unstructured.Unstructured }

type fluxCondition struct {
	status, reason, message string
	// current says that it is about the latest change.
	current bool
}

func (s fluxState) condition(kind string) fluxCondition {
	conditions, _, _ := unstructured.NestedSlice(s.Object, "status", "conditions")
	for _, each := range conditions {
		condition, _ := each.(map[string]any)
		if condition["type"] != kind {
			continue
		}
		observed, _ := condition["observedGeneration"].(int64)
		return fluxCondition{
			status: fmt.Sprint(condition["status"]), reason: fmt.Sprint(condition["reason"]), message: fmt.Sprint(condition["message"]),
			current: observed == s.GetGeneration(),
		}
	}
	return fluxCondition{status: "Unknown", reason: "Missing"}
}

// drifts is how often Flux has found objects that are not what the release says.
func (f *flux) drifts(t *testing.T) int {
	t.Helper()
	return strings.Count(f.controllers.helm.text(t), "detected changes in cluster state")
}

// history are the revisions that Helm keeps, the newest last: their numbers, states and descriptions.
func (f *flux) history(t *testing.T) string {
	t.Helper()
	got := f.run(t.Context(), time.Minute, "history", f.name, "--namespace", f.namespace)
	if got.err != nil {
		t.Fatalf("helm history: %v\n%s", got.err, got.output)
	}
	return got.output
}

// remove deletes the HelmRelease and waits until Flux has uninstalled the release.
func (f *flux) remove(t *testing.T) time.Duration {
	t.Helper()
	if err := f.resource().Delete(t.Context(), f.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return eventually(t, 5*time.Minute, "HelmRelease "+f.name+" is gone", func(ctx context.Context) (bool, string) {
		object, err := f.resource().Get(ctx, f.name, metav1.GetOptions{})
		if err != nil {
			return apierrors.IsNotFound(err), err.Error()
		}
		ready := fluxState{object}.condition("Ready")
		return false, ready.reason + ": " + ready.message
	})
}

// forget removes Flux's objects in a namespace without what they would do at their end.
func (f *flux) forget(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, resource := range []schema.GroupVersionResource{helmReleases, helmCharts, helmRepositories} {
		client := f.dynamic.Resource(resource).Namespace(f.namespace)
		list, err := client.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Errorf("list %s: %v", resource.Resource, err)
			continue
		}
		for _, object := range list.Items {
			patch := []byte(`{"metadata": {"finalizers": null}}`)
			_, err := client.Patch(ctx, object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
			if err == nil {
				err = client.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
			}
			if err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("delete %s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}
	}
}

// keptRows are the rows that users would miss. It names their columns: newer versions have more.
const keptRows = `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
  SELECT 'users ' || count(*) || ' ' || md5(string_agg(id || username, ',' ORDER BY id)) AS line FROM public.users
  UNION ALL SELECT 'workspaces ' || count(*) || ' ' || md5(string_agg(id || name, ',' ORDER BY id)) FROM public.workspaces
  UNION ALL SELECT 'sessions ' || count(*) || ' ' || md5(string_agg(id || title, ',' ORDER BY id)) FROM public.sessions
  UNION ALL SELECT 'messages ' || count(*) || ' ' || md5(string_agg(id || body::text, ',' ORDER BY id)) FROM public.session_messages
  UNION ALL SELECT 'credentials ' || count(*) || ' ' || md5(string_agg(c::text, ',' ORDER BY c::text)) FROM public.user_credentials c
) kept`

// keptData is what nothing that Flux does may lose.
type keptData struct {
	rows, files string
	// objects are databases, their definitions and volumes, by identity; claims the volumes behind these.
	objects, claims, secrets map[string]string
}

func (f *flux) data(t *testing.T) keptData {
	t.Helper()
	return keptData{
		rows: f.sql(t, keptRows), files: f.afsRows(t),
		objects: (&gitOps{release: f.release}).data(t), claims: f.claims(t), secrets: f.secretData(t),
	}
}

// wantKept asserts that nothing of what there was is gone or another. More may have come.
func (f *flux) wantKept(t *testing.T, before keptData) {
	t.Helper()
	now := f.data(t)
	if diff := cmp.Diff(before.rows, now.rows); diff != "" {
		t.Errorf("rows before and after:\n%s", diff)
	}
	if diff := cmp.Diff(before.files, now.files); diff != "" {
		t.Errorf("rows of AFS before and after:\n%s", diff)
	}
	f.wantObjectsKept(t, before)
}

// wantObjectsKept is wantKept where no database runs that could be asked.
func (f *flux) wantObjectsKept(t *testing.T, before keptData) {
	t.Helper()
	for what, maps := range map[string][2]map[string]string{
		"object": {before.objects, (&gitOps{release: f.release}).data(t)},
		"claim":  {before.claims, f.claims(t)},
		"Secret": {before.secrets, f.secretData(t)},
	} {
		var lost []string
		for name, value := range maps[0] {
			if maps[1][name] != value {
				lost = append(lost, name)
			}
		}
		slices.Sort(lost)
		if len(lost) > 0 {
			t.Errorf("%s lost or replaced: %s", what, strings.Join(lost, ", "))
		}
	}
}

// values are values of the test's own with more on top, written as YAML.
func (f *flux) values(t *testing.T, more string) map[string]any {
	t.Helper()
	base, err := chartutil.ReadValues([]byte("global: {host: " + f.nodeIP + "}"))
	if err != nil {
		t.Fatal(err)
	}
	over, err := chartutil.ReadValues([]byte(more))
	if err != nil {
		t.Fatalf("%v in %s", err, more)
	}
	return chartutil.CoalesceTables(over, base)
}
