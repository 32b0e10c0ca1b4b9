package prepare

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/revision"
	"github.com/neutree-ai/packaging/internal/stop"
)

// begin refuses a revision that Helm has given up, and stops what an earlier upgrade that was cancelled still runs,
// so that the state that is looked at next is the last one. From here on no Job outlives the revision.
func (p *Prepare) begin(ctx context.Context) error {
	rev, err := revision.Parse(p.Log, p.Client, p.Spec.Revision)
	if rev == nil || err != nil {
		return err
	}
	p.revision = rev
	if err := rev.Check(ctx); err != nil {
		return err
	}
	stopper := &stop.Stopper{
		Log: p.Log, Client: p.Client, Namespace: p.Spec.Namespace, Revision: rev.String(), Wait: p.StopTime,
	}
	p.Jobs = &revisionJobs{Jobs: p.Jobs, revision: rev, stopper: stopper}
	var jobs []stop.Job
	for _, name := range p.Spec.Stop {
		jobs = append(jobs, stop.Job{Name: name})
	}
	if stopped, err := stopper.Stop(ctx, jobs...); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// The lock of the migrations still keeps two runs apart.
		p.Log.Warn("not everything that an earlier upgrade left running could be stopped",
			"stopped", stopped, "cause", kube.Brief(err))
	}
	return nil
}

// revisionJobs runs Jobs that end with the revision that they work for.
type revisionJobs struct {
	jobrun.Jobs
	revision *revision.Revision
	stopper  *stop.Stopper
}

// stopTime bounds the end of a Job whose revision was given up.
const stopTime = 40 * time.Second

// Run runs a Job while the revision is pending.
func (j *revisionJobs) Run(ctx context.Context, job *batchv1.Job) (string, error) {
	if err := j.revision.Check(ctx); err != nil {
		return "", err
	}
	pending, done := j.revision.While(ctx)
	defer done()
	message, err := j.Jobs.Run(pending, job)
	if err = revision.Cause(pending, err); !revision.Ended(err) {
		return message, err
	}
	// It may have been the Job itself that noticed.
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	own := *j.stopper
	own.Revision = ""
	if _, stopErr := own.Stop(cleaning, stop.Job{Name: job.Name}); stopErr != nil {
		return "", fmt.Errorf("%w; besides, %w", err, stopErr)
	}
	return "", err
}
