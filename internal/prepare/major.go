package prepare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// startTime bounds starting services again after an upgrade of the data that did not end well.
const startTime = time.Minute

// endTime bounds the end of the services' pods, one of which may be on a lost node: none serves meanwhile.
const endTime = 3 * time.Minute

// reserve is kept back from the command's time, to set the Cluster back and to start the services again.
const reserve = 2 * time.Minute

// majorUpgrade is the refusal of a newer major version of PostgreSQL that no one has decided on.
func majorUpgrade(object string, from, to int) finding.Finding {
	return finding.Finding{
		ID: finding.UpgradeDatabaseMajor, Severity: finding.Error, Object: object, Value: "global.images.postgresql",
		Found: fmt.Sprintf("PostgreSQL would be upgraded from major version %d to %d", from, to),
		Why:   "the services must be stopped for it, and only a restore goes back",
		Fix: fmt.Sprintf("name an image of version %d in global.images.postgresql.tag, or, if the upgrade is meant, "+
			"--set global.upgrade.allowMajorUpgrade=true, which makes a backup first", from),
	}
}

// halfMajor is the refusal of an upgrade that neither continues nor ends one of the data that has not ended.
func halfMajor(namespace string, gate hook.GateSpec) finding.Finding {
	return finding.Finding{
		ID: finding.UpgradeDatabaseMajor, Severity: finding.Error, Object: object(namespace, gate),
		Value: "global.upgrade.allowMajorUpgrade",
		Found: "an upgrade of PostgreSQL to another major version has not ended, and the services are stopped for it",
		Why:   "only the data says which version it has by now",
		Fix: fmt.Sprintf("end it with helm rollback %s --namespace %s, which starts the services again; or continue it with "+
			"the image that it was started with and --set global.upgrade.allowMajorUpgrade=true", gate.Release, namespace),
	}
}

// raiseMajor upgrades the data to a newer major version of PostgreSQL, if that is meant: it stops the services, makes a
// backup, has the operator upgrade the data, and starts the services again. A run that was cut off is continued.
func (p *Prepare) raiseMajor(ctx context.Context, db found, cluster *database.Cluster,
	manifest *unstructured.Unstructured) (string, error) {
	if !p.Spec.Gate.Allow.MajorUpgrade {
		return "", nil
	}
	from, to, started, err := cluster.RaisesMajor(ctx, manifest)
	if err != nil {
		return "", err
	}
	begins := to > 0 && !started
	stopped, err := cluster.StoppedServices(ctx)
	// A database that does not answer can't be saved, so no upgrade of it starts; one that was started is its silence.
	if err != nil || !begins && stopped == nil || begins && !db.answers {
		return "", err
	}
	if p.Spec.Migrate.Backup == "" {
		return "", hook.Refuse(finding.Finding{
			ID: finding.UpgradeDatabaseMajor, Severity: finding.Error,
			Object: object(p.Spec.Namespace, p.Spec.Gate), Value: "global.backup",
			Found: fmt.Sprintf("PostgreSQL would be upgraded from major version %d to %d without a backup", from, to),
			Why:   "only a restore goes back",
			Fix:   "set global.backup.enabled=true and global.backup.skip=false",
		})
	}
	plan, err := hook.ReadSpec[backupjob.Plan](p.Spec.Migrate.Backup)
	if err != nil {
		return "", err
	}
	runner := backupjob.New(p.Log, p.Client, p.Spec.Namespace, plan)
	if stopped == nil {
		if stopped, err = runner.Writers(ctx); err != nil {
			return "", err
		}
		if err := cluster.NoteStopped(ctx, stopped); err != nil {
			return "", err
		}
	}
	working, done := reserving(ctx, reserve)
	defer done()
	saved, err := p.upgradeData(working, db, cluster, runner, manifest, stopped, begins)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		// The pod is stopped, and another one continues.
		return "", err
	}
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
	defer cancel()
	p.Log.Info("starting the services again")
	startErr := runner.StartWriters(starting, stopped)
	if startErr == nil {
		startErr = cluster.NoteStopped(starting, nil)
	}
	switch {
	case err != nil && startErr != nil:
		return "", fmt.Errorf("%w; and the services could not be started again: %w", err, startErr)
	case err != nil:
		// Another pod of the Job would stop the services once more.
		return "", refused(err)
	case startErr != nil:
		return "", startErr
	}
	return saved + "the data was upgraded to the major version that the image names", nil
}

// upgradesData says whether an earlier run has started to upgrade the data: the database does not answer meanwhile.
func (p *Prepare) upgradesData(ctx context.Context) (bool, error) {
	if !p.Spec.Gate.Allow.MajorUpgrade {
		return false, nil
	}
	stopped, err := database.New(p.Log, p.Client, p.Spec.Namespace, p.Spec.Migrate.Cluster).StoppedServices(ctx)
	return stopped != nil, err
}

// upgradeData does the work between stopping the services and starting them again. An upgrade that was started has its
// backup.
func (p *Prepare) upgradeData(ctx context.Context, db found, cluster *database.Cluster, runner *backupjob.Runner,
	manifest *unstructured.Unstructured, stopped *restorenote.Services, begins bool) (string, error) {
	saved := ""
	if begins {
		p.Log.Warn("PostgreSQL is upgraded to a newer major version: the services are stopped until it is done")
		stopping, cancel := context.WithTimeout(ctx, endTime)
		defer cancel()
		if err := runner.StopWriters(stopping, stopped); err != nil {
			return "", fmt.Errorf("the data was not upgraded, since the services could not all be stopped: %w", err)
		}
		message, err := p.save(ctx, (*backupjob.Runner).BeforeMajorUpgrade)
		if err != nil {
			return "", fmt.Errorf("the data was not upgraded, since the backup before it failed: %w", err)
		}
		saved = message + "; "
	}
	return saved, cluster.RaiseMajor(ctx, manifest, db.url, p.ChangeTime)
}

// refused is err with the exit code of a refusal, after which a Job does not try again, and with an ID.
func refused(err error) error {
	if _, ok := errors.AsType[finding.List](err); ok {
		return &hook.Error{Code: hook.Refused, Err: err}
	}
	return hook.Refusef(finding.UpgradeDatabaseMajor, "fix the cause, then run the same upgrade again", "%v", err)
}

// reserving is ctx with an end that leaves time before the deadline of ctx, if it has one.
func reserving(ctx context.Context, left time.Duration) (context.Context, context.CancelFunc) {
	deadline, has := ctx.Deadline()
	if !has {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-left))
}
