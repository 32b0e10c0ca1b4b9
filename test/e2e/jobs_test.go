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

// bootstrapJob waits for the newest bootstrap Job of the release and returns its name.
func (r *release) bootstrapJob(t testing.TB) string {
	t.Helper()
	var newest *batchv1.Job
	eventually(t, time.Minute, "a bootstrap Job", func(ctx context.Context) (bool, string) {
		jobs, err := r.client.BatchV1().Jobs(r.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		newest = nil
		for i := range jobs.Items {
			job := &jobs.Items[i]
			if strings.HasPrefix(job.Name, "nap-bootstrap-") && (newest == nil || newest.CreationTimestamp.Before(&job.CreationTimestamp)) {
				newest = job
			}
		}
		return newest != nil, "none yet"
	})
	return newest.Name
}

func (r *release) jobPods(ctx context.Context, job string) []corev1.Pod {
	list, err := r.client.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + job})
	if err != nil {
		return nil
	}
	return list.Items
}

func (r *release) waitJob(t testing.TB, name string) {
	t.Helper()
	took := eventually(t, 4*time.Minute, "Job "+name+" complete", func(ctx context.Context) (bool, string) {
		job, err := r.client.BatchV1().Jobs(r.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		if job.Status.Failed > 0 && job.Status.Active == 0 && job.Status.Succeeded == 0 {
			return false, "failed: " + r.termination(ctx, name)
		}
		return job.Status.Succeeded > 0, fmt.Sprintf("%+v", job.Status)
	})
	t.Logf("Job %s complete after %s", name, took)
}

// termination is the cause that a Job's main container left in its termination message.
func (r *release) termination(ctx context.Context, job string) string {
	var messages []string
	for _, pod := range r.jobPods(ctx, job) {
		for _, status := range pod.Status.ContainerStatuses {
			if status.State.Terminated != nil && status.State.Terminated.Message != "" {
				messages = append(messages, fmt.Sprintf("exit %d: %s", status.State.Terminated.ExitCode, status.State.Terminated.Message))
			}
		}
	}
	return strings.Join(messages, "\n")
}

func (r *release) waitDeployments(t testing.TB) {
	t.Helper()
	eventually(t, 3*time.Minute, "every Deployment is ready", func(ctx context.Context) (bool, string) {
		list, err := r.client.AppsV1().Deployments(r.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, deployment := range list.Items {
			status := deployment.Status
			if status.ObservedGeneration < deployment.Generation || status.UpdatedReplicas < *deployment.Spec.Replicas || status.AvailableReplicas < *deployment.Spec.Replicas || status.Replicas > *deployment.Spec.Replicas {
				return false, fmt.Sprintf("%s: %d of %d ready", deployment.Name, status.AvailableReplicas, *deployment.Spec.Replicas)
			}
		}
		return len(list.Items) > 0, "no Deployment yet"
	})
}

func containsAll(text string, words ...string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}
