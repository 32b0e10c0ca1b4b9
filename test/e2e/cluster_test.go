//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/neutree-ai/packaging/internal/mask"
	"github.com/neutree-ai/packaging/test/dump"
)

var (
	crds                = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	clusterRoles        = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	clusterRoleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// operatorGroup ends the names of the operator's CRDs.
const operatorGroup = ".postgresql.cnpg.io"

// eventually polls until condition holds and stops the test if it does not within limit. The condition's
// second result says what is still missing.
func eventually(t testing.TB, limit time.Duration, what string, condition func(ctx context.Context) (bool, string)) time.Duration {
	t.Helper()
	started := time.Now()
	var missing string
	err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		done, text := condition(ctx)
		// At the end of the time a condition can say no more than that it has ended.
		if ctx.Err() == nil {
			missing = text
		}
		return done, nil
	})
	if err != nil {
		t.Fatalf("%s: not within %s: %s", what, limit, missing)
	}
	return time.Since(started).Round(100 * time.Millisecond)
}

// purge removes everything a test left, the data included, so that the next one starts on an empty cluster.
func (r *release) purge(t testing.TB) {
	t.Helper()
	r.remove(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r.deleteMatching(ctx, t, crds, func(o *unstructured.Unstructured) bool {
		return strings.HasSuffix(o.GetName(), operatorGroup)
	})
}

// remove removes a release and its data, and leaves alone what it shares with other releases.
func (r *release) remove(t testing.TB) {
	t.Helper()
	if t.Failed() {
		r.dump(t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// Without the hook that would stop everything in good order: nothing of it is wanted again.
	got := r.run(ctx, time.Minute, "uninstall", r.name, "--namespace", r.namespace, "--no-hooks", "--ignore-not-found")
	if got.err != nil {
		t.Errorf("uninstall: %v\n%s", got.err, got.output)
	}
	for _, namespace := range []string{r.namespace, r.workspaces()} {
		r.deleteNamespace(ctx, t, namespace)
	}
	named := func(o *unstructured.Unstructured) bool {
		return strings.HasPrefix(o.GetName(), r.namespace+"-"+cmp.Or(r.prefix, "nap")+"-")
	}
	r.deleteMatching(ctx, t, clusterRoles, named)
	r.deleteMatching(ctx, t, clusterRoleBindings, named)
}

func (e *environment) deleteNamespace(ctx context.Context, t testing.TB, name string) {
	t.Helper()
	namespaces := e.client.CoreV1().Namespaces()
	// Some services do not listen for the signal to stop; nobody waits for them here.
	now := int64(0)
	err := e.client.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	if err != nil {
		t.Errorf("delete the pods of namespace %s: %v", name, err)
	}
	err = wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := namespaces.Delete(ctx, name, metav1.DeleteOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		t.Errorf("delete namespace %s: %v", name, err)
	}
}

func (e *environment) deleteMatching(ctx context.Context, t testing.TB, resource schema.GroupVersionResource, match func(*unstructured.Unstructured) bool) {
	t.Helper()
	var client dynamic.ResourceInterface = e.dynamic.Resource(resource)
	list, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Errorf("list %s: %v", resource.Resource, err)
		return
	}
	for i := range list.Items {
		if !match(&list.Items[i]) {
			continue
		}
		name := list.Items[i].GetName()
		err := wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			return apierrors.IsNotFound(client.Delete(ctx, name, metav1.DeleteOptions{})), nil
		})
		if err != nil {
			t.Errorf("delete %s %s: %v", resource.Resource, name, err)
		}
	}
}

// dump shows what a reader of a failed test wants to see first: pods that are not well, the latest
// warnings, and the last lines of the logs of both. Where the tests were given a folder, everything else is written there.
func (r *release) dump(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r.writeDown(ctx, t)
	var secrets dump.Secrets
	if err := secrets.Read(ctx, r.client); err != nil {
		t.Logf("read the Secrets that must not be shown: %v", err)
		return
	}
	hidden := secrets.Mask()
	for _, namespace := range []string{r.namespace, r.workspaces()} {
		pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Logf("list pods in %s: %v", namespace, err)
			continue
		}
		for _, pod := range pods.Items {
			t.Logf("pod %s/%s: %s, ready %v", namespace, pod.Name, pod.Status.Phase, podReady(&pod))
			if !podReady(&pod) && pod.Status.Phase != corev1.PodSucceeded {
				r.dumpPod(ctx, t, &pod, hidden)
			}
		}
		events, err := r.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
		if err != nil {
			continue
		}
		for _, event := range events.Items[max(0, len(events.Items)-15):] {
			t.Logf("event %s/%s %s: %s", namespace, event.InvolvedObject.Name, event.Reason, hidden.Hide(event.Message))
		}
	}
}

// writeDown fills the folder that FAILED_DIR names, once for each test and subtest.
func (e *environment) writeDown(ctx context.Context, t testing.TB) {
	t.Helper()
	folder := os.Getenv(dump.FolderVariable)
	if folder == "" {
		return
	}
	folder = filepath.Join(folder, strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()))
	if _, err := os.Stat(folder); err == nil {
		return
	}
	if err := dump.Write(ctx, e.config, folder, &dump.Secrets{}); err != nil {
		t.Logf("not everything could be written to %s: %v", folder, err)
	}
}

func (r *release) dumpPod(ctx context.Context, t testing.TB, pod *corev1.Pod, hidden mask.Mask) {
	t.Helper()
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if status.State.Waiting != nil {
			t.Logf("  %s waits: %s %s", status.Name, status.State.Waiting.Reason, status.State.Waiting.Message)
		}
		if status.State.Terminated != nil && status.State.Terminated.ExitCode != 0 {
			t.Logf("  %s ended %d: %s", status.Name, status.State.Terminated.ExitCode, hidden.Hide(status.State.Terminated.Message))
		}
		if text := r.logs(ctx, pod.Namespace, pod.Name, status.Name); text != "" {
			t.Logf("  last lines of %s:\n%s", status.Name, hidden.Hide(text))
		}
	}
}

func (e *environment) logs(ctx context.Context, namespace, pod, container string) string {
	lines := int64(15)
	stream, err := e.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, TailLines: &lines}).Stream(ctx)
	if err != nil {
		return ""
	}
	defer stream.Close()
	text, err := io.ReadAll(io.LimitReader(stream, 1<<16))
	if err != nil {
		return ""
	}
	return string(text)
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
