// Package jobrun runs a Job to its end: it makes the Job from a manifest, watches its pods, and returns what
// the Job's main container left as its termination message and exit code, as if the work had been done here.
package jobrun

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/poddiag"
)

// digestAnnotation tells whether a Job that is there already does what the manifest asks for.
const digestAnnotation = "neutree.ai/manifest"

// RevisionAnnotation, on a Job, names the revision of the release that it works for.
const RevisionAnnotation = "neutree.ai/revision"

// Runner runs Jobs in one namespace.
type Runner struct {
	Log       *slog.Logger
	Client    *kube.Client
	Namespace string
	// Revision is the one that the Jobs work for, "" where that is not known.
	Revision string
	// Patience is how long an image that can't be pulled, or a container that can't be made, may take to recover by
	// itself; 0 means 10 seconds.
	Patience time.Duration
	// StartWait is how long a pod may find no node, which a cluster that adds nodes by itself ends; 0 means 10 minutes,
	// as much as the Jobs' own deadlines allow for. A pod that is bound to nodes by their names gets a minute at most: no
	// new node takes it.
	StartWait time.Duration
}

// startWait is how long a pod of job may find no node.
func (r *Runner) startWait(job *batchv1.Job) time.Duration {
	wait := cmp.Or(r.StartWait, 10*time.Minute)
	if namesNodes(job.Spec.Template.Spec.Affinity) {
		return min(wait, time.Minute)
	}
	return wait
}

// namesNodes says whether pods go to nodes that are named one by one.
func namesNodes(affinity *corev1.Affinity) bool {
	if affinity == nil || affinity.NodeAffinity == nil {
		return false
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return false
	}
	// Nodes of any one term will do.
	return !slices.ContainsFunc(required.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return len(term.MatchFields) == 0
	})
}

// Jobs runs a Job to its end and returns what it said, as Runner does.
type Jobs interface {
	Run(ctx context.Context, job *batchv1.Job) (string, error)
}

// NotStarted is the error of a Job whose pod does not start. It says which Job, and of what sort the trouble is.
type NotStarted struct {
	Job     string
	Trouble poddiag.Trouble
	// Ran says that an earlier pod of the Job was at work before this one did not start.
	Ran bool
}

// Error names the cause: the image, the missing object, or what the scheduler says.
func (e *NotStarted) Error() string { return e.Unwrap().Error() }

// Unwrap is the same as a finding.
func (e *NotStarted) Unwrap() error {
	return finding.List{e.Trouble.Finding("the pod of Job " + e.Job)}
}

// ReadManifest reads the one Job in the YAML file at path.
func ReadManifest(path string) (*batchv1.Job, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, hook.Errorf(hook.Usage, "read the manifest of a Job: %w", err)
	}
	job := &batchv1.Job{}
	if err := yaml.UnmarshalStrict(raw, job); err != nil {
		return nil, hook.Errorf(hook.Usage, "manifest %s is no Job: %w", path, err)
	}
	if job.Kind != "Job" || job.Name == "" || len(job.Spec.Template.Spec.Containers) != 1 {
		return nil, hook.Errorf(hook.Usage, "manifest %s must hold a Job with a name and one container", path)
	}
	return job, nil
}

// Run runs job and returns its termination message. A Job of that name that an attempt before this one left at
// work is waited for if it is the same, and replaced otherwise. One that ended well is deleted; one that failed
// stays for its log. When the deadline of ctx passes the Job is stopped, so that nothing goes on behind the back
// of whoever was told so; when ctx is cancelled it goes on, for the next attempt to find.
func (r *Runner) Run(ctx context.Context, job *batchv1.Job) (string, error) {
	w := &watch{Runner: r, name: job.Name, main: job.Spec.Template.Spec.Containers[0].Name, nodeWait: r.startWait(job)}
	if err := w.start(ctx, job); err != nil {
		return "", err
	}
	err := w.wait(ctx)
	var notStarted *NotStarted
	stopped := errors.Is(ctx.Err(), context.DeadlineExceeded)
	if err == nil || stopped || errors.As(err, &notStarted) {
		r.remove(ctx, job.Name)
	}
	if stopped {
		return "", hook.Errorf(hook.Deadline, "Job %s was stopped, since the deadline passed: %w", job.Name, err)
	}
	return w.message, err
}

// Await waits for the end of a Job that was made from job, and returns its termination message. It deletes nothing.
func (r *Runner) Await(ctx context.Context, job *batchv1.Job) (string, error) {
	w := &watch{Runner: r, name: job.Name, main: job.Spec.Template.Spec.Containers[0].Name, nodeWait: r.startWait(job)}
	err := w.wait(ctx)
	return w.message, err
}

// remove deletes a Job that is of no more use; an error is only worth a warning.
func (r *Runner) remove(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := r.delete(ctx, name); err != nil {
		r.Log.Warn("a Job could not be deleted", "job", name, "cause", kube.Brief(err))
	}
}

func (r *Runner) delete(ctx context.Context, name string) error {
	background := metav1.DeletePropagationBackground
	err := r.Client.Resource(kube.Jobs, r.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// digestOf identifies what a manifest asks for.
func digestOf(job *batchv1.Job) (string, error) {
	raw, err := json.Marshal(struct {
		Annotations map[string]string
		Spec        batchv1.JobSpec
	}{job.Annotations, job.Spec})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:16], nil
}
