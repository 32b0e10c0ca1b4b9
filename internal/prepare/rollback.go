package prepare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/nodeport"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/stop"
)

// AcrossAnnotation, on the ConfigMap that describes the installation, names the breaking migrations that a rollback
// may go back across all the same. It names them, so that it does not outlive its purpose.
const AcrossAnnotation = "neutree.ai/rollback-across"

// Rollback decides whether the services of an older revision may meet the database as it is. The hook that asks is
// the older revision's own, so what it can't know stands in the database.
type Rollback struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.RollbackSpec
	// StopTime bounds the wait for what the upgrade left running; 0 means a minute.
	StopTime time.Duration
	// MajorTime bounds the wait for an upgrade of PostgreSQL's data that is at work; 0 means 90 seconds.
	MajorTime time.Duration
}

// Run stops what the upgrade still runs and returns one sentence on how the revision fits the database as it is
// then. A database that does not answer is no reason to refuse, and neither is a Job that can't be stopped: going back
// may be what fixes them.
func (r *Rollback) Run(ctx context.Context) (string, error) {
	stopped, err := r.stop(ctx)
	if err != nil {
		return "", err
	}
	if err := r.restores(ctx); err != nil {
		return "", err
	}
	ended, err := r.endMajor(ctx)
	if err != nil {
		return "", err
	}
	said, err := r.compare(ctx)
	if err != nil {
		return said, err
	}
	said = ended + said
	if err := r.makeWay(ctx); err != nil {
		return "", err
	}
	if err := nodeport.GiveUp(ctx, r.Log, r.Client, r.Spec.Namespace, r.Spec.FreePortOf); err != nil {
		return "", err
	}
	if len(stopped) > 0 {
		said = "stopped what was still running (Job " + strings.Join(stopped, ", ") + "); " + said
	}
	return said, nil
}

// stop ends the Jobs that an upgrade which was cancelled, or whose time was over, has left running, and scheduled
// backups. Its only error is that ctx was cancelled, as by the drain of a node: then another pod tries again.
func (r *Rollback) stop(ctx context.Context) ([]string, error) {
	stopper := &stop.Stopper{Log: r.Log, Client: r.Client, Namespace: r.Spec.Namespace, Wait: r.StopTime}
	jobs, err := stopper.Of(ctx, r.Spec.Release, r.Spec.Prefix)
	// A rollback restarts the database where that gets its older values.
	scheduled, scheduledErr := stopper.Scheduled(ctx, r.Spec.Release)
	stopped, stopErr := stopper.Stop(ctx, append(jobs, scheduled...)...)
	err = errors.Join(err, scheduledErr, stopErr)
	switch {
	case ctx.Err() == context.Canceled:
		return stopped, ctx.Err()
	case err != nil:
		r.Log.Warn("not everything that the upgrade left running could be stopped: look for Jobs named "+r.Spec.Prefix+
			"-prepare and "+r.Spec.Prefix+"-migrate", "cause", kube.Brief(err))
	}
	return stopped, nil
}

// wayTime bounds the wait for a Job to be gone that has ended.
const wayTime = 20 * time.Second

// makeWay deletes the bootstrap Job of this revision if it has ended and is still there, as after an upgrade that
// failed before it came to delete it. Helm 3 compares what it finds with the revision that it goes back from, which has
// another bootstrap Job: it would patch this one, which Kubernetes refuses, and the rollback would count as failed.
// Helm creates the Job again, and what it does it may do at any time. The only error is that ctx was cancelled.
func (r *Rollback) makeWay(ctx context.Context) error {
	removing, cancel := context.WithTimeout(ctx, wayTime)
	defer cancel()
	err := removeJob(removing, r.Log, r.Client, r.Spec.Namespace, r.Spec.BootstrapJob,
		"the bootstrap Job of this revision is deleted, so that Helm creates it again", jobrun.Ended)
	switch {
	case ctx.Err() == context.Canceled:
		return ctx.Err()
	case err != nil:
		r.Log.Warn("should the rollback fail since Job "+r.Spec.BootstrapJob+" can't be patched, delete that Job and roll "+
			"back again", "cause", kube.Brief(err))
	}
	return nil
}

// restores refuses to start services while a restore has not ended.
func (r *Rollback) restores(ctx context.Context) error {
	unfinished, err := restorenote.Unfinished(ctx, r.Client, r.Spec.Namespace, r.Spec.RestoreNote)
	if err != nil {
		r.Log.Warn("it is not known whether a restore was left unfinished", "cause", kube.Brief(err))
		return nil
	}
	return kube.Refuse(unfinished, nil)
}

// endMajor ends an upgrade of the data to a newer major version of PostgreSQL that was cut off, and starts the services
// that were stopped for it. It returns the first words of the sentence on the database. The only error is that ctx was
// cancelled: going back does not fail for what else goes wrong.
func (r *Rollback) endMajor(ctx context.Context) (string, error) {
	if r.Spec.Database.Cluster == "" {
		return "", nil
	}
	cluster := database.New(r.Log, r.Client, r.Spec.Namespace, r.Spec.Database.Cluster)
	stopped, err := cluster.StoppedServices(ctx)
	if stopped == nil && err == nil {
		return "", nil
	}
	said := ""
	if err == nil {
		said, err = r.endRaise(ctx, cluster, stopped)
	}
	switch {
	case ctx.Err() == context.Canceled:
		return "", ctx.Err()
	case err != nil:
		r.Log.Warn("an upgrade of PostgreSQL to another major version was cut off and could not all be ended: if services "+
			"have no pods or the database does not answer, see docs/upgrade.md, A new major version of PostgreSQL",
			"cause", kube.Brief(err))
	}
	return said, nil
}

// endRaise does so for services that were stopped. They wait for the database by themselves.
func (r *Rollback) endRaise(
	ctx context.Context, cluster *database.Cluster, stopped *restorenote.Services,
) (string, error) {
	ended, err := cluster.EndRaise(ctx, r.MajorTime)
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	r.Log.Info("starting the services that were stopped for an upgrade of PostgreSQL")
	runner := backupjob.New(r.Log, r.Client, r.Spec.Namespace, backupjob.Plan{})
	if err = errors.Join(err, runner.StartWriters(starting, stopped)); err != nil {
		return "", err
	}
	if !ended {
		r.Log.Warn("the operator still upgrades PostgreSQL's data, which must not be stopped: the services start when it " +
			"is done. Should it fail, roll back again, which starts PostgreSQL as it was")
		return "PostgreSQL's data is still being upgraded; ", nil
	}
	if err := cluster.NoteStopped(starting, nil); err != nil {
		return "", err
	}
	return "ended an upgrade of PostgreSQL that was cut off, and started its services; ", nil
}

// compare says how the revision fits the database.
func (r *Rollback) compare(ctx context.Context) (string, error) {
	if err := r.operator(ctx); err != nil {
		return "", err
	}
	p := &Prepare{Log: r.Log, Client: r.Client, Spec: hook.PrepareSpec{Namespace: r.Spec.Namespace, Migrate: r.Spec.Database}}
	db, err := p.findDatabase(ctx)
	err = cmp.Or(err, db.silence)
	switch {
	case err != nil:
		r.Log.Warn("the database could not be asked whether this revision can use it", "cause", err.Error())
		return "the database could not be asked", nil
	case !db.answers:
		return "there is no running database", nil
	}
	if across := strings.Join(db.state.Breaking, ","); across != "" {
		allowed, err := r.allowed(ctx)
		if err != nil {
			return "", err
		}
		if allowed != across {
			return "", hook.Refuse(r.breaking(across))
		}
		r.Log.Warn("rolling back across breaking migrations, as the annotation allows", "migrations", across)
	}
	said := "the database fits this revision"
	if len(db.state.Ahead) > 0 {
		ahead := strings.Join(db.state.Ahead, ", ")
		r.Log.Warn("the database stays ahead of the services: its newer migrations only added something, and nothing takes them back", "migrations", ahead)
		said = "the database stays ahead by " + ahead
	}
	return said + r.changeCluster(ctx, p, db), nil
}

// rollbackChangeTime bounds the restart of the database with the older values.
const rollbackChangeTime = 75 * time.Second

// changeCluster gives the database its older values before the services are replaced, and returns what to add to the
// sentence on it. Going back does not fail for that: bootstrap of the older revision applies them too.
func (r *Rollback) changeCluster(ctx context.Context, p *Prepare, db found) string {
	p.Spec.Gate.Manifest, p.ChangeTime, p.forward = r.Spec.Manifest, rollbackChangeTime, true
	changed, err := p.changeCluster(ctx, db)
	if err != nil {
		r.Log.Warn("the database could not get its older values now: they are applied with the rollback", "cause",
			err.Error())
		return ""
	}
	if changed == "" {
		return ""
	}
	return "; " + changed
}

// breaking is the refusal, with every way out of it: Helm leaves the release pending.
func (r *Rollback) breaking(across string) finding.Finding {
	spec := r.Spec
	return finding.Finding{
		ID: finding.UpgradeRollback, Severity: finding.Error, Object: fmt.Sprintf("release %s in namespace %s", spec.Release, spec.Namespace),
		Found: fmt.Sprintf("the services of this revision can't run on the database, which migrations have changed for good since (%s)", across),
		Why:   "nothing was changed",
		Fix: fmt.Sprintf("fix the newer version and run helm upgrade; or restore a backup from before those "+
			"migrations (helm neutree backup list --namespace %s); or roll back all the same with kubectl annotate --overwrite configmap %s "+
			"--namespace %s %s=%s. Helm leaves the release pending-rollback: first run helm neutree recover %s --namespace %s",
			spec.Namespace, spec.ConfigMap, spec.Namespace, AcrossAnnotation, across, spec.Release, spec.Namespace),
	}
}

func (r *Rollback) allowed(ctx context.Context) (string, error) {
	live, err := kube.Get[corev1.ConfigMap](ctx, r.Client, kube.ConfigMaps, r.Spec.Namespace, r.Spec.ConfigMap)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read ConfigMap %s in namespace %s: %w", r.Spec.ConfigMap, r.Spec.Namespace, err)
	}
	return live.Annotations[AcrossAnnotation], nil
}
