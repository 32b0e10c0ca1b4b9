//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The bootstrap Job's pod is killed while it waits for the operator, while it waits for the database it
// applied, and when it comes to the migrations; and a second Job of the same work runs beside it. The install
// converges all the same.
func TestBootstrapKilledAndDoubled(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	done := r.begin(t)
	job := r.bootstrapJob(t)
	twin := r.double(t, job)

	for _, step := range []string{"database", "primary", "migrations"} {
		r.killAt(t, job, step)
	}
	r.waitJob(t, job)
	r.waitJob(t, twin)
	if got := <-done; got.err != nil {
		r.dump(t)
		t.Fatalf("helm: %v after %s\n%s", got.err, got.took, got.output)
	}
	r.waitDeployments(t)
	session := r.login(t)
	r.createWorkspace(t, session, "after-the-kills")
}

// double makes a second Job with the spec of the first and returns its name.
func (r *release) double(t *testing.T, name string) string {
	t.Helper()
	jobs := r.client.BatchV1().Jobs(r.namespace)
	job, err := jobs.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	twin := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name + "-twin"}, Spec: job.Spec}
	twin.Spec.Selector = nil
	twin.Spec.Template.Labels = nil
	if _, err := jobs.Create(t.Context(), twin, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return twin.Name
}

// killAt deletes the Job's pod as soon as its log says that the step has begun. The Job must not be done
// before: then the test would prove nothing.
func (r *release) killAt(t *testing.T, job, step string) {
	t.Helper()
	now := int64(0)
	began := `"name":"` + step + `"`
	took := eventually(t, 3*time.Minute, "step "+step+" of "+job, func(ctx context.Context) (bool, string) {
		current, err := r.client.BatchV1().Jobs(r.namespace).Get(ctx, job, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, pod := range r.jobPods(ctx, job) {
			if pod.DeletionTimestamp != nil || !strings.Contains(r.logs(ctx, pod.Namespace, pod.Name, pod.Spec.Containers[0].Name), began) {
				continue
			}
			if pod.Status.Phase == corev1.PodSucceeded {
				t.Fatalf("the Job was done before its pod could be killed at step %s", step)
			}
			err := r.client.CoreV1().Pods(r.namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			return err == nil, "the pod could not be deleted"
		}
		return false, fmt.Sprintf("not begun, %d failed", current.Status.Failed)
	})
	t.Logf("killed the pod at step %s after %s", step, took)
}
