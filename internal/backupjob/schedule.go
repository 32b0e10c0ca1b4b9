package backupjob

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Schedule says in one sentence when the release's schedule made its last backup, and why it has failed since. It is
// empty where there is no schedule.
func (r *Runner) Schedule(ctx context.Context) (string, error) {
	ours := metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=neutree,app.kubernetes.io/instance=" +
		r.Plan.Release + ",app.kubernetes.io/component=" + platform.ScheduledBackup}
	crons, err := kube.List[batchv1.CronJob](ctx, r.Client, kube.CronJobs, r.Namespace, ours)
	if err != nil {
		return "", kube.Refused(err, "look for the schedule in namespace %s", r.Namespace)
	}
	if len(crons) == 0 {
		return "", nil
	}
	jobs, err := kube.List[batchv1.Job](ctx, r.Client, kube.Jobs, r.Namespace, ours)
	if err != nil {
		return "", kube.Refused(err, "look for the Jobs of the schedule in namespace %s", r.Namespace)
	}
	cron := crons[0]
	said := fmt.Sprintf("schedule %q", cron.Spec.Schedule)
	if zone := ptr.Deref(cron.Spec.TimeZone, ""); zone != "" {
		said += " in time zone " + zone
	}
	if ptr.Deref(cron.Spec.Suspend, false) {
		said += ", which is suspended (global.backup.suspend)"
	}
	var succeeded time.Time
	if last := cron.Status.LastSuccessfulTime; last != nil {
		succeeded = last.Time
		said += "; last success " + stamp(succeeded)
	} else {
		said += "; no success yet"
	}
	job, failed := lastFailed(jobs)
	if job == nil || !failed.After(succeeded) {
		return said, nil
	}
	return said + fmt.Sprintf("; last failure %s: Job %s: %s", stamp(failed), job.Name, r.cause(ctx, job)), nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// lastFailed is the Job that failed last, and when.
func lastFailed(jobs []batchv1.Job) (last *batchv1.Job, at time.Time) {
	for i := range jobs {
		if c := jobrun.Failure(&jobs[i]); c != nil && c.LastTransitionTime.After(at) {
			last, at = &jobs[i], c.LastTransitionTime.Time
		}
	}
	return last, at
}

// cause is what the last pod of a failed Job said, or what Kubernetes says of the Job.
func (r *Runner) cause(ctx context.Context, job *batchv1.Job) string {
	said := jobrun.Failure(job).Message
	pods, err := kube.List[corev1.Pod](ctx, r.Client, kube.Pods, r.Namespace,
		metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job.Name})
	if err != nil {
		return said
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for _, pod := range pods {
		for _, status := range pod.Status.ContainerStatuses {
			if ended := status.State.Terminated; ended != nil {
				said = cmp.Or(ended.Message, said)
			}
		}
	}
	return said
}
