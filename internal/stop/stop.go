// Package stop ends the Jobs that an earlier operation has left running, and waits until none of their pods is left.
// Whatever starts after an operation that was cancelled begins with it, and looks at the state only then: a rollback,
// an uninstall, a restore, the recovery of a release and the next upgrade.
package stop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Stopper stops Jobs of one namespace.
type Stopper struct {
	Log       *slog.Logger
	Client    *kube.Client
	Namespace string
	// Revision is the one whose own Jobs are left alone, "" for none.
	Revision string
	// Wait bounds the wait for the pods to be gone; 0 means a minute. A pod has 30 seconds to end.
	Wait time.Duration
}

// Job is one to stop.
type Job struct {
	Name string
	// Awaited marks a Job that a Helm client waits for. It is not deleted but made to fail: Helm 3 takes a hook that
	// was deleted for one that succeeded, and would apply the revision although that is being rolled back.
	Awaited bool
}

// Of names the Jobs that an upgrade of the release with this prefix may have left running: those of its hooks, those
// that these start, and the bootstrap Jobs, whose names depend on their content. Backups and restores that a person
// started are none of them, and neither are those of a schedule.
func (s *Stopper) Of(ctx context.Context, release, prefix string) ([]Job, error) {
	var jobs []Job
	for _, job := range platform.HookJobs() {
		if job.Upgrades && job.Name != platform.Bootstrap {
			// What a hook starts is no hook of Helm's.
			jobs = append(jobs, Job{Name: prefix + "-" + job.Name, Awaited: !job.Stays})
		}
	}
	named, err := s.byComponent(ctx, release, platform.Bootstrap)
	return append(jobs, named...), err
}

// Scheduled names the Jobs that the schedule of the release's backups has started. They end by themselves when an
// upgrade needs the database, and are stopped by what else comes.
func (s *Stopper) Scheduled(ctx context.Context, release string) ([]Job, error) {
	return s.byComponent(ctx, release, platform.ScheduledBackup)
}

func (s *Stopper) byComponent(ctx context.Context, release, component string) ([]Job, error) {
	var jobs []Job
	err := s.Client.EachMetadata(ctx, kube.Jobs, s.Namespace, metav1.ListOptions{LabelSelector: fmt.Sprintf(
		"app.kubernetes.io/part-of=neutree,app.kubernetes.io/instance=%s,app.kubernetes.io/component=%s",
		release, component)},
		func(job *metav1.PartialObjectMetadata) { jobs = append(jobs, Job{Name: job.Name}) })
	if err != nil {
		return jobs, kube.Refused(err, "list the Jobs of release %s in namespace %s", release, s.Namespace)
	}
	return jobs, nil
}

// Running are the names of those of the Jobs that have not ended, sorted.
func (s *Stopper) Running(ctx context.Context, jobs ...Job) ([]string, error) {
	var names []string
	for _, job := range jobs {
		live, err := kube.Get[batchv1.Job](ctx, s.Client, kube.Jobs, s.Namespace, job.Name)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, kube.Refused(err, "look for Job %s in namespace %s", job.Name, s.Namespace)
		case !jobrun.Ended(live):
			names = append(names, job.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stop ends those of the Jobs that are running and returns their names once no pod of any of them is left. Pods of a
// Job that another client has just deleted are waited for too. The error names what could not be stopped, and what is
// left.
func (s *Stopper) Stop(ctx context.Context, jobs ...Job) (stopped []string, err error) {
	var failures []error
	// What a Helm client waits for starts the others, so it comes first.
	for _, awaited := range []bool{true, false} {
		var names []string
		for _, job := range jobs {
			if job.Awaited != awaited {
				continue
			}
			switch did, err := s.stop(ctx, job); {
			case err != nil:
				failures = append(failures, err)
				continue
			case did == left:
				continue
			case did == ended:
				stopped = append(stopped, job.Name)
			}
			names = append(names, job.Name)
		}
		if err := s.await(ctx, names); err != nil {
			failures = append(failures, err)
		}
	}
	return stopped, errors.Join(failures...)
}

// outcome is what became of a Job.
type outcome int

const (
	absent outcome = iota
	ended
	left
)

// stop asks for the end of one Job.
func (s *Stopper) stop(ctx context.Context, job Job) (outcome, error) {
	live, err := kube.Get[batchv1.Job](ctx, s.Client, kube.Jobs, s.Namespace, job.Name)
	switch {
	case apierrors.IsNotFound(err):
		return absent, nil
	case err != nil:
		return absent, kube.Refused(err, "look for Job %s in namespace %s", job.Name, s.Namespace)
	case s.Revision != "" && live.Annotations[jobrun.RevisionAnnotation] == s.Revision:
		return left, nil
	case jobrun.Ended(live):
		return absent, nil
	}
	s.Log.Info("stopping a Job that an earlier operation left running", "job", job.Name)
	if job.Awaited {
		deadline := map[string]any{"spec": map[string]any{"activeDeadlineSeconds": 1}}
		err = s.Client.Merge(ctx, kube.Jobs, s.Namespace, job.Name, deadline)
	} else {
		// Its pods are awaited below, for a bounded time: one on a lost node would keep the Job in a foreground
		// deletion.
		background := metav1.DeletePropagationBackground
		options := metav1.DeleteOptions{PropagationPolicy: &background}
		err = s.Client.Resource(kube.Jobs, s.Namespace).Delete(ctx, job.Name, options)
	}
	if apierrors.IsNotFound(err) {
		return absent, nil
	}
	if err != nil {
		return absent, kube.Refused(err, "stop Job %s in namespace %s", job.Name, s.Namespace)
	}
	return ended, nil
}

// await returns once no pod of the Jobs is left that may still do something.
func (s *Stopper) await(ctx context.Context, jobs []string) error {
	if len(jobs) == 0 {
		return nil
	}
	wait := s.Wait
	if wait == 0 {
		wait = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return hook.Poll(ctx, s.Log, "stopped Jobs to end", func(ctx context.Context) (bool, string, error) {
		pods, err := s.pods(ctx, jobs)
		if err != nil && kube.Permanent(err) {
			return false, "", kube.Refused(err, "list pods in namespace %s", s.Namespace)
		}
		if err != nil {
			return false, kube.Brief(err), nil
		}
		return len(pods) == 0, strings.Join(pods, ", "), nil
	})
}

// pods describes the pods of Jobs that have not ended. One on a node that is lost ends only when the node is back or
// was removed, so the node is named.
func (s *Stopper) pods(ctx context.Context, jobs []string) ([]string, error) {
	pods, err := kube.List[corev1.Pod](ctx, s.Client, kube.Pods, s.Namespace, metav1.ListOptions{
		LabelSelector: fmt.Sprintf("%s in (%s)", batchv1.JobNameLabel, strings.Join(jobs, ",")),
		// A pod that has ended stays for its log.
		FieldSelector: "status.phase!=Failed,status.phase!=Succeeded",
	})
	if err != nil {
		return nil, err
	}
	var described []string
	for _, pod := range pods {
		where := "on no node"
		if pod.Spec.NodeName != "" {
			where = "on node " + pod.Spec.NodeName
		}
		if pod.DeletionTimestamp != nil && time.Now().After(pod.DeletionTimestamp.Time) {
			where += ", which should have ended it by now: is that node lost?"
		}
		described = append(described, fmt.Sprintf("pod %s is still there %s", pod.Name, where))
	}
	slices.Sort(described)
	return described, nil
}
