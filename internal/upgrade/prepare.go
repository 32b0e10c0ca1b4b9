// Package upgrade does what has to be done before any object of a revision is applied: it refuses what could not
// work, makes the Secrets, brings new images to the nodes and migrates the database, so that whatever fails leaves
// the services of before as they are.
package upgrade

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/guard"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/secret"
)

// Prepare runs before an install and before an upgrade. Some tools call every change an install, so what
// there is decides what it does.
type Prepare struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.PrepareSpec
	// Jobs runs the Jobs that pull, save and migrate.
	Jobs JobRunner
}

// JobRunner runs a Job to its end and returns what it said, as jobrun.Runner does.
type JobRunner interface {
	Run(ctx context.Context, job *batchv1.Job) (string, error)
}

// Run does all of it in order and returns one sentence on what it did.
func (p *Prepare) Run(ctx context.Context) (string, error) {
	start := time.Now()
	secrets := p.Client.Resource(kube.Secrets, p.Spec.Namespace)
	errs := guard.Check(ctx, p.Log, p.Client, p.Spec.Guard)
	errs = append(errs, p.gate(ctx)...)
	problems, err := secret.Check(ctx, p.Log, secrets, p.Spec.Secrets)
	errs = append(errs, err)
	for _, problem := range problems {
		errs = append(errs, guard.Problem(problem))
	}
	db, err := p.findDatabase(ctx)
	errs = append(errs, err)
	if len(db.older) > 0 && !p.Spec.Gate.Allow.OlderImages {
		errs = append(errs, guard.Problem(migrate.Older(db.older)))
	}
	if err := guard.Report(errs); err != nil {
		return "", err
	}
	result, err := secret.Ensure(ctx, p.Log, secrets, p.Spec.Secrets)
	if err != nil {
		return "", err
	}
	said := []string{result.String()}
	if !db.answers {
		// The address of a database from outside may have been made only now.
		if db, err = p.findDatabase(ctx); err != nil {
			return "", err
		}
	}
	for _, step := range []func(context.Context) (string, error){
		p.pull,
		func(ctx context.Context) (string, error) { return p.migrate(ctx, db) },
	} {
		sentence, err := step(ctx)
		if err != nil {
			return "", err
		}
		if sentence != "" {
			said = append(said, sentence)
		}
	}
	if err := p.removeFailedJob(ctx); err != nil {
		return "", err
	}
	p.Log.Info("prepared", "took", time.Since(start).Round(time.Millisecond).String())
	return strings.Join(said, "; "), nil
}

// removeFailedJob deletes the bootstrap Job of the new revision if an earlier attempt left it failed: Helm
// leaves an object alone that did not change, so nothing would try again.
func (p *Prepare) removeFailedJob(ctx context.Context) error {
	name := p.Spec.Migrate.FailedJob
	if name == "" {
		return nil
	}
	job, err := kube.Get[batchv1.Job](ctx, p.Client, kube.Jobs, p.Spec.Namespace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for Job %s in namespace %s: %w", name, p.Spec.Namespace, err)
	}
	if !failed(job) {
		return nil
	}
	p.Log.Info("an earlier attempt failed: its Job is deleted, so that it runs again", "job", name)
	background := metav1.DeletePropagationBackground
	err = p.Client.Resource(kube.Jobs, p.Spec.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the failed Job %s in namespace %s: %w", name, p.Spec.Namespace, err)
	}
	return hook.Poll(ctx, p.Log, "Job "+name+" to be gone", func(ctx context.Context) (bool, string, error) {
		_, err := kube.Get[batchv1.Job](ctx, p.Client, kube.Jobs, p.Spec.Namespace, name)
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "it is still there", nil
	})
}

func failed(job *batchv1.Job) bool {
	for _, condition := range job.Status.Conditions {
		if condition.Type == batchv1.JobFailed && condition.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
