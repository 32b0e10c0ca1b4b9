// Package prepare does what has to be done before any object of a revision is applied: it refuses what could not
// work, makes the Secrets, brings new images to the nodes, migrates and seeds the database, so that whatever fails leaves
// the services of before as they are.
package prepare

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/guard"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/nodeport"
	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/revision"
	"github.com/neutree-ai/packaging/internal/secret"
)

// Prepare runs before an install and before an upgrade. Some tools call every change an install, so what
// there is decides what it does.
type Prepare struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.PrepareSpec
	// Jobs runs the Jobs that pull, save, migrate and seed.
	Jobs jobrun.Jobs
	// AnswerTime bounds the wait for the database to answer; 0 means a minute.
	AnswerTime time.Duration
	// CompareTime bounds the wait for the operator of the database to say what would change; 0 means 30 seconds.
	CompareTime time.Duration
	// ChangeTime bounds the restart of the database with other values; 0 means five minutes.
	ChangeTime time.Duration
	// forward says that a change of the database stays, also one that takes longer: see database.Changing.
	forward bool
	// JudgeTime bounds the wait for an API server or a webhook that does not answer dry runs; 0 means 30 seconds.
	JudgeTime time.Duration
	// StopTime bounds the wait for what an earlier upgrade left running; 0 means a minute.
	StopTime time.Duration

	revision *revision.Revision
	// precedence keeps scheduled backups from the database from its own backup on.
	precedence migrate.Precedence
}

// Run does all of it in order and returns one sentence on what it did.
func (p *Prepare) Run(ctx context.Context) (string, error) {
	start := time.Now()
	if err := p.begin(ctx); err != nil {
		return "", err
	}
	db, err := p.check(ctx)
	if err != nil {
		return "", err
	}
	if err := p.protectDefinitions(ctx); err != nil {
		return "", err
	}
	if err := backupjob.Protect(ctx, p.Client, p.Spec.Namespace, p.Spec.BackupClaim); err != nil {
		p.Log.Warn("the claim of backups could not be marked not to be pruned", "cause", err)
	}
	secrets := p.Client.Resource(kube.Secrets, p.Spec.Namespace)
	result, err := secret.Ensure(ctx, p.Log, secrets, p.Spec.Secrets)
	if err != nil {
		return "", err
	}
	said := []string{result.String()}
	url, err := p.databaseURL(ctx)
	if err != nil {
		return "", err
	}
	if db.url != url {
		// The address, or a password in it, may have been made only now.
		if db, err = p.findDatabase(ctx); err != nil {
			return "", err
		}
		if err := kube.Refuse(p.judge(ctx, db)); err != nil {
			return "", err
		}
	}
	if err := p.recordKey(ctx, db); err != nil {
		return "", err
	}
	p.precedence = migrate.Precedence{Log: p.Log, URL: db.url}
	defer p.precedence.End(ctx)
	pulled, todo, err := p.pullAndAsk(ctx, db)
	if err != nil {
		return "", err
	}
	if err := p.stillWanted(ctx); err != nil {
		return "", err
	}
	// Before the migrations, which nothing takes back: a change of the database that fails is set back.
	changed, err := p.changeCluster(ctx, db)
	if err != nil {
		return "", err
	}
	if err := p.stillWanted(ctx); err != nil {
		return "", err
	}
	if err := p.claim(ctx, db); err != nil {
		return "", err
	}
	migrated, err := p.migrate(ctx, todo)
	if err != nil {
		return "", err
	}
	if err := p.stillWanted(ctx); err != nil {
		return "", err
	}
	seeded, err := p.seed(ctx, db)
	if err != nil {
		return "", err
	}
	if err := p.stillWanted(ctx); err != nil {
		return "", err
	}
	restarted, err := p.restartUsers(ctx)
	if err != nil {
		return "", err
	}
	for _, sentence := range []string{pulled, changed, migrated, seeded, restarted} {
		if sentence != "" {
			said = append(said, sentence)
		}
	}
	if err := p.removeFailedJob(ctx); err != nil {
		return "", err
	}
	// A Helm client that rolls back applies the revision all the same when its hook succeeds meanwhile.
	if err := p.stillWanted(ctx); err != nil {
		return "", err
	}
	// Nothing else remains before Helm gives the port to the other Service.
	if err := nodeport.GiveUp(ctx, p.Log, p.Client, p.Spec.Namespace, p.Spec.FreePortOf); err != nil {
		return "", err
	}
	p.Log.Info("prepared", "took", time.Since(start).Round(time.Millisecond).String())
	return strings.Join(said, "; "), nil
}

// stillWanted refuses to continue once Helm has given the revision up, or once a restore was started: minutes may have
// passed since check looked.
func (p *Prepare) stillWanted(ctx context.Context) error {
	if err := p.revision.Check(ctx); err != nil {
		return err
	}
	return kube.Refuse(restorenote.Unfinished(ctx, p.Client, p.Spec.Namespace, p.Spec.Gate.RestoreNote))
}

// check finds out, without a write, what could not work. The questions hang on nothing of each other, so they are asked
// at the same time: an upgrade that changes nothing is little more than them.
func (p *Prepare) check(ctx context.Context) (db found, err error) {
	questions := []func() ([]finding.Finding, error){
		func() ([]finding.Finding, error) { return guard.Check(ctx, p.Log, p.Client, p.Spec.Guard) },
		func() ([]finding.Finding, error) { return p.gate(ctx) },
		func() ([]finding.Finding, error) { return p.operator(ctx) },
		func() ([]finding.Finding, error) { return p.plaintext(ctx) },
		func() ([]finding.Finding, error) { return p.workloads(ctx) },
		func() ([]finding.Finding, error) { return nil, p.admitCluster(ctx) },
		func() ([]finding.Finding, error) { return timeZone(p.Spec.TimeZone), nil },
		func() ([]finding.Finding, error) {
			return secret.Check(ctx, p.Log, p.Client.Resource(kube.Secrets, p.Spec.Namespace), p.Spec.Secrets)
		},
		func() ([]finding.Finding, error) {
			var err error
			if db, err = p.findDatabase(ctx); err != nil {
				return nil, err
			}
			return p.judge(ctx, db)
		},
	}
	answers, errs := make([][]finding.Finding, len(questions)), make([]error, len(questions))
	var asked sync.WaitGroup
	for i, ask := range questions {
		asked.Go(func() { answers[i], errs[i] = ask() })
	}
	asked.Wait()
	return db, kube.Refuse(once(slices.Concat(answers...)), errors.Join(errs...))
}

// once leaves out what the API server says of an object of which another check says the cause and the way out.
func once(findings []finding.Finding) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f finding.Finding) bool {
		return f.ID == finding.AdmissionPolicy && slices.ContainsFunc(findings, func(other finding.Finding) bool {
			return other.ID != f.ID && other.Object != "" && other.Object == f.Object
		})
	})
}

// judge says what of the database forbids to continue.
func (p *Prepare) judge(ctx context.Context, db found) ([]finding.Finding, error) {
	examined, examineErr := p.examine(ctx, db)
	silent, silentErr := p.silent(ctx, db)
	moved, movedErr := p.otherDatabase(ctx, db)
	return slices.Concat(examined, silent, moved), errors.Join(examineErr, silentErr, movedErr)
}

// pullAndAsk does both at the same time, since each is a Job that takes seconds. Nothing is migrated by either.
func (p *Prepare) pullAndAsk(ctx context.Context, db found) (pulled string, todo work, err error) {
	var pullErr, askErr error
	var pulling sync.WaitGroup
	pulling.Go(func() { pulled, pullErr = p.pull(ctx) })
	todo, askErr = p.ask(ctx, db)
	pulling.Wait()
	return pulled, todo, besides(pullErr, askErr)
}

// besides makes one error of two things that were done at the same time. The Job that asks copies from images that are
// pulled too, and the same image is one cause.
func besides(pull, ask error) error {
	var notStarted *jobrun.NotStarted
	switch {
	case pull == nil:
		return ask
	case ask == nil:
		return pull
	case errors.As(ask, &notStarted) && notStarted.Trouble.Kind == poddiag.Image && refuses(pull, "image "+notStarted.Trouble.Image):
		return pull
	}
	return fmt.Errorf("%w; besides, %w", pull, ask)
}

// refuses tells whether an error is a finding about an object.
func refuses(err error, object string) bool {
	return slices.ContainsFunc(finding.Of(err), func(f finding.Finding) bool { return f.Object == object })
}

// removeFailedJob deletes the bootstrap Job of the new revision if an earlier attempt left it failed: Helm
// leaves an object alone that did not change, so nothing would try again.
func (p *Prepare) removeFailedJob(ctx context.Context) error {
	return removeJob(ctx, p.Log, p.Client, p.Spec.Namespace, p.Spec.Migrate.FailedJob,
		"an earlier attempt failed: its Job is deleted, so that it runs again", jobrun.Failed)
}

// removeJob deletes the Job called name if it is there and unwanted says so, and returns once it is gone. An empty name
// is that of none. why is logged.
func removeJob(
	ctx context.Context, log *slog.Logger, client *kube.Client, namespace, name, why string,
	unwanted func(*batchv1.Job) bool,
) error {
	if name == "" {
		return nil
	}
	job, err := kube.Get[batchv1.Job](ctx, client, kube.Jobs, namespace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for Job %s in namespace %s: %w", name, namespace, err)
	}
	if !unwanted(job) {
		return nil
	}
	log.Info(why, "job", name)
	background := metav1.DeletePropagationBackground
	err = client.Resource(kube.Jobs, namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Job %s in namespace %s: %w", name, namespace, err)
	}
	return hook.Poll(ctx, log, "Job "+name+" to be gone", func(ctx context.Context) (bool, string, error) {
		_, err := kube.Get[batchv1.Job](ctx, client, kube.Jobs, namespace, name)
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "it is still there", nil
	})
}
