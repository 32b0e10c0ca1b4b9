//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The operator is slow to serve its webhook; the bootstrap Job's pod is killed while it waits for that, while
// it waits for the database it applied, and when it comes to the migrations; and a second Job of the same work
// runs beside it. The install converges all the same.
func TestBootstrapKilledAndDoubled(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	done := r.begin(t, "--set", "cloudnative-pg.replicaCount=0")
	job := r.bootstrapJob(t)
	twin := r.double(t, job)

	r.killAt(t, job, `its webhook does not answer`)
	r.scaleOperator(t, 1)
	r.killAt(t, job, `"name":"primary"`)
	r.killAt(t, job, `"name":"migrations"`)
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
	// These tie a pod to its Job. The others say what it is, and who may talk to it.
	maps.DeleteFunc(twin.Spec.Template.Labels, func(label, _ string) bool {
		return strings.HasSuffix(label, "job-name") || strings.HasSuffix(label, "controller-uid")
	})
	if _, err := jobs.Create(t.Context(), twin, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return twin.Name
}

// scaleOperator stops the operator, or lets it come.
func (r *release) scaleOperator(t *testing.T, replicas int32) {
	t.Helper()
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: r.name + "-cloudnative-pg", Namespace: r.namespace}}
	scale.Spec.Replicas = replicas
	if _, err := r.client.AppsV1().Deployments(r.namespace).UpdateScale(t.Context(), scale.Name, scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// killAt deletes the Job's pod as soon as its log holds the words. The Job must not be done before: then the
// test would prove nothing.
func (r *release) killAt(t *testing.T, job, words string) {
	t.Helper()
	now := int64(0)
	took := eventually(t, 3*time.Minute, "the log of "+job+" holds "+words, func(ctx context.Context) (bool, string) {
		current, err := r.client.BatchV1().Jobs(r.namespace).Get(ctx, job, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, pod := range r.jobPods(ctx, job) {
			if pod.DeletionTimestamp != nil || !strings.Contains(r.logs(ctx, pod.Namespace, pod.Name, pod.Spec.Containers[0].Name), words) {
				continue
			}
			if pod.Status.Phase == corev1.PodSucceeded {
				t.Fatalf("the Job was done before its pod could be killed at %s", words)
			}
			err := r.client.CoreV1().Pods(r.namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			return err == nil, "the pod could not be deleted"
		}
		return false, fmt.Sprintf("it does not, %d pods failed", current.Status.Failed)
	})
	t.Logf("killed the pod at %s after %s", words, took)
}
