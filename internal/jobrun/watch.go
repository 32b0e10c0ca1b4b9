package jobrun

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/poddiag"
)

// watch follows one Job.
type watch struct {
	*Runner
	name string
	main string
	uid  string
	// nodeWait is how long a pod may find no node.
	nodeWait time.Duration
	// message is the last that the main container left, code its exit code.
	message string
	code    int32
	// ran says that the main container of some pod was at work.
	ran bool
	// last is the trouble seen last, since tells when it was first seen.
	last  *poddiag.Trouble
	since time.Time
}

// start makes the Job, or adopts one that does the same.
func (w *watch) start(ctx context.Context, job *batchv1.Job) error {
	job = job.DeepCopy()
	job.Namespace = w.Namespace
	if w.Revision != "" {
		metav1.SetMetaDataAnnotation(&job.ObjectMeta, RevisionAnnotation, w.Revision)
	}
	digest, err := digestOf(job)
	if err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, digestAnnotation, digest)
	err = hook.Poll(ctx, w.Log, "the Job "+w.name+" of an earlier attempt to be gone", func(ctx context.Context) (bool, string, error) {
		live, err := kube.Get[batchv1.Job](ctx, w.Client, kube.Jobs, w.Namespace, w.name)
		switch {
		case apierrors.IsNotFound(err):
			err := w.Client.Create(ctx, kube.Jobs, w.Namespace, job, false)
			if apierrors.IsAlreadyExists(err) {
				return false, "another attempt has just made it", nil
			}
			if err == nil {
				w.Log.Info("Job made", "job", w.name)
			}
			return err == nil, "", refused(err, "make", w.name)
		case err != nil:
			return false, "", refused(err, "look for", w.name)
		case live.DeletionTimestamp != nil:
			return false, "it is being deleted", nil
		case live.Annotations[digestAnnotation] == digest && !Ended(live):
			w.Log.Info("the Job of an earlier attempt is still at work: its end is awaited", "job", w.name)
			return true, "", nil
		}
		w.Log.Info("the Job of an earlier attempt is replaced", "job", w.name)
		return false, "it was deleted", refused(w.delete(ctx, w.name), "delete", w.name)
	})
	return err
}

// wait returns when the Job has ended, or will never start.
func (w *watch) wait(ctx context.Context) error {
	return hook.Poll(ctx, w.Log, "Job "+w.name, func(ctx context.Context) (bool, string, error) {
		job, err := kube.Get[batchv1.Job](ctx, w.Client, kube.Jobs, w.Namespace, w.name)
		if apierrors.IsNotFound(err) {
			return false, "", fmt.Errorf("somebody deleted Job %s while it was at work", w.name)
		}
		if err != nil {
			return transient(err, w.name)
		}
		w.uid = string(job.UID)
		pods, err := kube.List[corev1.Pod](ctx, w.Client, kube.Pods, w.Namespace,
			metav1.ListOptions{LabelSelector: batchv1.ControllerUidLabel + "=" + w.uid})
		if err != nil {
			return transient(err, w.name)
		}
		missing := w.look(pods)
		if failure := condition(job, batchv1.JobFailed); failure != nil {
			return false, "", w.failed(failure)
		}
		if condition(job, batchv1.JobComplete) != nil || enough(job, pods) {
			return true, "", nil
		}
		if w.settles(job, pods) {
			return false, "", w.failed(&batchv1.JobCondition{Reason: batchv1.JobReasonPodFailurePolicy})
		}
		return false, missing, w.impatient(ctx)
	})
}

// look notes how the pods stand and says what the Job is about.
func (w *watch) look(pods []corev1.Pod) string {
	// The newest last: it tells how things stand now.
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	state := "its pod is not there yet"
	var trouble *poddiag.Trouble
	for i := range pods {
		pod := &pods[i]
		state = "its pod is " + string(pod.Status.Phase)
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if status.State.Running != nil {
				state = "container " + status.Name + " runs"
			}
			if status.Name == w.main && (status.State.Running != nil || status.State.Terminated != nil) {
				w.ran = true
			}
			if status.Name == w.main && status.State.Running != nil {
				// How an earlier pod ended says nothing of this one.
				w.message, w.code = "", 0
			}
			if ended := status.State.Terminated; ended != nil && status.Name == w.main {
				w.message, w.code = strings.TrimSpace(ended.Message), ended.ExitCode
			}
		}
		if t, ok := poddiag.Of(pod); ok {
			trouble, state = &t, "its pod "+t.String()
		}
	}
	w.note(trouble)
	return state
}

// note keeps the time since which the pods have the same sort of trouble. Of an image the first cause is kept:
// later ones only say that it will be tried again.
func (w *watch) note(t *poddiag.Trouble) {
	switch {
	case t == nil:
		w.last = nil
	case w.last == nil || w.last.Kind != t.Kind || w.last.Container != t.Container:
		w.last, w.since = t, time.Now()
	case len(t.Message) > len(w.last.Message):
		w.last = t
	}
}

// impatient is an error when the trouble has lasted for too long.
func (w *watch) impatient(ctx context.Context) error {
	if w.last == nil {
		return nil
	}
	patience := w.Patience
	if patience == 0 {
		patience = 10 * time.Second
	}
	switch w.last.Kind {
	case poddiag.Failed, poddiag.Rejected, poddiag.Evicted:
		// The Job itself decides whether there will be another pod.
		return nil
	case poddiag.Unschedulable:
		patience = w.nodeWait
	}
	if w.last.Reason != "InvalidImageName" && time.Since(w.since) < patience {
		return nil
	}
	trouble := poddiag.Client{Client: w.Client}.WithZones(ctx, w.Namespace, *w.last)
	return &hook.Error{Code: hook.Refused, Err: &NotStarted{Job: w.name, Trouble: trouble, Ran: w.ran}}
}

// enough tells whether the pods have done what makes the Job complete. Its controller says so a second or two later.
func enough(job *batchv1.Job, pods []corev1.Pod) bool {
	var done int32
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded {
			done++
		}
	}
	return done >= ptr.Deref(job.Spec.Completions, 1)
}

// settles tells whether the main container ended by an exit code on which the Job's own policy fails it, however many
// retries it has left.
func (w *watch) settles(job *batchv1.Job, pods []corev1.Pod) bool {
	if job.Spec.PodFailurePolicy == nil || w.message == "" {
		return false
	}
	ended := slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodFailed && pod.DeletionTimestamp == nil
	})
	return ended && slices.ContainsFunc(job.Spec.PodFailurePolicy.Rules, func(rule batchv1.PodFailurePolicyRule) bool {
		on := rule.OnExitCodes
		return rule.Action == batchv1.PodFailurePolicyActionFailJob && on != nil && on.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn &&
			ptr.Deref(on.ContainerName, w.main) == w.main && slices.Contains(on.Values, w.code)
	})
}

// failed relays how the main container ended, or says what kept it from running.
func (w *watch) failed(failure *batchv1.JobCondition) error {
	code := hook.Code(w.code)
	if !slices.Contains([]hook.Code{hook.Usage, hook.Refused, hook.MigrationFailed, hook.Busy, hook.Pending,
		hook.HalfRestored, hook.Unchanged, hook.Deadline}, code) {
		code = hook.Unexpected
	}
	if failure.Reason == batchv1.JobReasonDeadlineExceeded && code == hook.Unchanged {
		// Another pod may have been at work when the deadline ended it.
		code = hook.Deadline
	}
	switch {
	case w.message != "" && w.code != 0:
		return hook.Errorf(code, "%s", w.message)
	case w.last != nil:
		return hook.Errorf(code, "Job %s failed: its pod %s", w.name, w.last.String())
	case failure.Reason == batchv1.JobReasonDeadlineExceeded:
		return hook.Errorf(hook.Deadline, "Job %s was ended by its deadline", w.name)
	}
	return hook.Errorf(code, "Job %s failed: %s %s", w.name, failure.Reason, failure.Message)
}

// transient takes err for something that passes, unless the API server will say the same again. Its code says that it is
// not known what the Job does: a refusal would say that nothing was changed.
func transient(err error, job string) (bool, string, error) {
	if kube.Permanent(err) {
		return false, "", hook.Errorf(hook.Unexpected, "%w", refused(err, "watch", job))
	}
	return false, kube.Brief(err), nil
}

func refused(err error, verb, job string) error {
	return kube.Refused(err, "cannot %s Job %s", verb, job)
}
