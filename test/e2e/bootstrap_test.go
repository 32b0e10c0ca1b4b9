//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The bootstrap Job's pod is killed while it waits, while it applies and while it migrates, and a second
// Job of the same work runs beside it: the install converges all the same.
func TestBootstrapKilledAndDoubled(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	r.mustUpgrade(t)
	job := r.bootstrapJob(t)
	r.double(t, job)

	// The words are those that the bootstrap logs when it enters each part of its work.
	for _, phase := range []string{"CustomResourceDefinition", "database", "migrat"} {
		killed := r.killWhen(t, job, phase)
		t.Logf("killed the pod of %s at %q: %v", job, phase, killed)
	}
	r.waitJob(t, job)
	r.waitJob(t, job+"-twin")
	r.waitDeployments(t)
	r.waitSeed(t)
	session := r.login(t)
	r.createWorkspace(t, session, "after-the-kills")
}

// double makes a second Job with the spec of the first.
func (r *release) double(t *testing.T, name string) {
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
}

// killWhen deletes the Job's running pod as soon as its log holds the word, or tells false if the Job was
// done before.
func (r *release) killWhen(t *testing.T, job, word string) bool {
	t.Helper()
	var killed bool
	now := int64(0)
	eventually(t, 3*time.Minute, "the log of "+job+" holds "+word, func(ctx context.Context) (bool, string) {
		current, err := r.client.BatchV1().Jobs(r.namespace).Get(ctx, job, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		if current.Status.Succeeded > 0 {
			return true, ""
		}
		for _, pod := range r.jobPods(ctx, job) {
			if pod.DeletionTimestamp != nil || !containsAll(r.logs(ctx, pod.Namespace, pod.Name, pod.Spec.Containers[0].Name), word) {
				continue
			}
			err := r.client.CoreV1().Pods(r.namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			killed = err == nil
			return killed, "could not delete the pod"
		}
		return false, "not yet"
	})
	return killed
}

// waitSeed waits for the seeds that run after the install.
func (r *release) waitSeed(t *testing.T) {
	t.Helper()
	eventually(t, 2*time.Minute, "the administrator is seeded", func(ctx context.Context) (bool, string) {
		jobs, err := r.client.BatchV1().Jobs(r.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, job := range jobs.Items {
			if job.Name == "nap-seed" && job.Status.Succeeded == 0 {
				return false, "Job nap-seed runs"
			}
		}
		return true, ""
	})
}
