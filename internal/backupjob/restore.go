package backupjob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/workspaces"
)

// Restore brings a release's databases back to a backup while its services stand still.
type Restore struct {
	*Runner
	// Name is the backup. It may be empty with Abandon.
	Name string
	// AllowNewer admits a backup of a newer release.
	AllowNewer bool
	// NoSafetyBackup leaves out the backup of what is there now.
	NoSafetyBackup bool
	// Abandon gives up an unfinished restore of another backup, for the sake of Name, or of none where the databases are
	// untouched.
	Abandon bool
	// Patience is how long another client that has started a restore may give no sign of life before it counts as dead; 0
	// means 15 seconds.
	Patience time.Duration
	// Watch is how often the services are looked at while they must stand still; 0 means 2 seconds.
	Watch time.Duration

	// takenUp says that an earlier client may have replaced a database in this attempt.
	takenUp bool
	// halfBefore says that an attempt before this one may have replaced one of the databases.
	halfBefore bool
}

// cleanUp bounds what is done after a signal or a failure.
const cleanUp = time.Minute

// Run restores and returns one sentence on it. What it has done it keeps in a ConfigMap, so that the same call after a
// client that was killed continues where that one stopped, and so that nothing else starts the services meanwhile.
//
// An error with the code hook.HalfRestored says that the restore has to be finished, and that services stay stopped
// until then. After any other error the databases are as before.
func (r *Restore) Run(ctx context.Context) (string, error) {
	l, left, err := r.acquire(ctx)
	if err != nil {
		return "", err
	}
	holding, stop := l.Hold(ctx, r.patience()/5)
	defer stop()
	result, err := r.proceed(holding, l, left)
	if err != nil && (errors.Is(err, restorenote.ErrLost) || errors.Is(context.Cause(holding), restorenote.ErrLost)) {
		return "", hook.Failf(hook.Busy, finding.BackupBusy, "watch that client, or run the same command again later",
			"%v", restorenote.ErrLost)
	}
	return result, err
}

// proceed does all of it with the note in hand. left is what another client had noted.
func (r *Restore) proceed(ctx context.Context, l *restorenote.Lock, left *restorenote.Note) (string, error) {
	switch {
	case r.Name == "":
		return r.giveUp(ctx, l, left)
	case left != nil && left.Phase == restorenote.Restored && left.Backup == r.Name:
		r.Log.Info("the databases were restored by another client; only the services are left to start", "backup", r.Name)
		if err := r.finish(ctx, l); err != nil {
			return "", err
		}
		return "the restore of backup " + r.Name + " is finished: the databases had been restored before", nil
	}
	if err := r.prepare(ctx, l, left); err != nil {
		return "", err
	}
	message, err := r.restore(ctx, l)
	if err != nil {
		return "", r.recover(ctx, l, err)
	}
	result, unknown, more := backup.ReadRestoreMessage(message)
	if note := l.Get(); note.Safety != "" {
		result += "; what was there before is backup " + strings.Join(append(slices.Clone(note.Earlier), note.Safety), ", ")
	}
	if err := r.finish(ctx, l); err != nil {
		return "", fmt.Errorf("%s; but %w", result, err)
	}
	if len(unknown) > 0 {
		r.Log.Warn(workspaces.Leftover(r.Plan.Workspaces, unknown, more))
	}
	return result, nil
}

// giveUp ends a restore that has not touched the databases.
func (r *Restore) giveUp(ctx context.Context, l *restorenote.Lock, left *restorenote.Note) (string, error) {
	if left.Phase != restorenote.Preparing && left.Phase != restorenote.Stopping {
		l.Leave(ctx)
		f := left.Finding(r.Namespace, r.noteName())
		return "", hook.Refuse(finding.Finding{ID: f.ID, Severity: f.Severity, Object: f.Object,
			Found: fmt.Sprintf("the restore of backup %s can't be given up without another backup", left.Backup),
			Why:   f.Why, Fix: left.WaysOut(r.Namespace)})
	}
	if err := r.finish(ctx, l); err != nil {
		return "", err
	}
	return "the restore of backup " + left.Backup + " is given up; the databases were not touched", nil
}

// prepare checks that the backup is good and saves what there is, while everything still runs. Of an unfinished restore
// that is only done again when services ran since: what is there is no use then but half of two databases.
func (r *Restore) prepare(ctx context.Context, l *restorenote.Lock, left *restorenote.Note) error {
	if err := r.stopScheduled(ctx); err != nil {
		if left == nil {
			return errors.Join(err, afterwards(ctx, l.Delete))
		}
		l.Leave(ctx)
		return err
	}
	ran := ""
	if left != nil {
		var err error
		if ran, err = r.ranSince(ctx, left); err != nil {
			l.Leave(ctx)
			return err
		}
	}
	switch {
	case left == nil || ran != "":
	case left.Backup == r.Name:
		r.Log.Info("a restore that did not end is taken up again", "backup", r.Name, "safety backup", left.Safety)
		r.takenUp = left.Phase == restorenote.Restoring
		return nil
	default:
		r.Log.Info("an unfinished restore is given up for another backup", "unfinished", left.Backup, "backup", r.Name)
		if err := r.check(ctx); err != nil {
			l.Leave(ctx)
			return err
		}
		r.takenUp = left.Phase == restorenote.Restoring
		return l.Change(ctx, func(n *restorenote.Note) { n.Backup = r.Name })
	}
	if left != nil {
		r.halfBefore = left.Phase == restorenote.Restoring
		r.Log.Warn("a restore that did not end starts over with a new check and a new backup of what is there now",
			"backup", r.Name, "cause", ran)
	}
	safety, err := r.save(ctx, left)
	if err == nil {
		var replicas map[string]int32
		if replicas, err = r.replicas(ctx); err == nil {
			return l.Change(ctx, func(n *restorenote.Note) { startOver(n, left, r.Name, safety, replicas) })
		}
	}
	if left != nil && left.Phase != restorenote.Preparing {
		// Services may be stopped, or run on half of two databases: that is not over.
		l.Leave(ctx)
		return err
	}
	return errors.Join(err, afterwards(ctx, l.Delete))
}

// startOver writes into a note what a fresh attempt begins with. What an earlier one left is kept: the safety backups,
// and the replicas of services that it had stopped.
func startOver(n, left *restorenote.Note, name, safety string, replicas map[string]int32) {
	if left != nil {
		if left.Safety != "" {
			n.Earlier = append(slices.Clone(left.Earlier), left.Safety)
		}
		for service, was := range left.Replicas {
			if now, there := replicas[service]; there && now == 0 {
				replicas[service] = was
			}
		}
		switch left.Phase {
		case restorenote.Restored:
			n.Phase = restorenote.Preparing
		case "":
			// Version 0.1.0 does not say whether it had touched the databases.
			n.Phase = restorenote.Restoring
		}
	}
	n.Backup, n.Safety, n.Replicas, n.ID = name, safety, replicas, rand.String(10)
	n.Stopped, n.Owners = nil, nil
}

func (r *Restore) check(ctx context.Context) error {
	r.Log.Info("checking the backup", "backup", r.Name)
	summary, err := r.Check(ctx, r.Name, r.AllowNewer)
	if err != nil {
		return err
	}
	r.Log.Info("the backup is good", "is", summary)
	return nil
}

// save checks the backup and makes one of what is there now, whose name it returns. Where an unfinished restore starts over,
// those that it made before stay: the first has what users had.
func (r *Restore) save(ctx context.Context, left *restorenote.Note) (string, error) {
	if err := r.check(ctx); err != nil {
		return "", err
	}
	if r.NoSafetyBackup {
		return "", nil
	}
	safety := "before-restore-" + backup.NewName(time.Now())
	r.Log.Info("saving what there is now", "backup", safety)
	var keep []string
	if left != nil && left.Safety != "" {
		keep = append(slices.Clone(left.Earlier), left.Safety)
	}
	// The hook of an earlier version keeps the last of them alone.
	keep = append(keep, r.Name)
	if _, err := r.Create(ctx, safety, "before the restore of "+r.Name, keep...); err != nil {
		return "", fmt.Errorf("nothing was changed, since what there is now could not be saved "+
			"(--no-safety-backup leaves that out): %w", err)
	}
	return safety, nil
}

// restore stops the services and runs the Job.
func (r *Restore) restore(ctx context.Context, l *restorenote.Lock) (string, error) {
	if l.Get().Phase != restorenote.Restoring {
		if err := l.Advance(ctx, restorenote.Stopping); err != nil {
			return "", err
		}
	}
	if err := r.stopServices(ctx, l); err != nil {
		return "", err
	}
	if err := l.Advance(ctx, restorenote.Restoring, r.workspaceIDs(ctx)...); err != nil {
		return "", err
	}
	r.Log.Info("restoring", "backup", r.Name)
	message, err := r.runWatched(ctx, l.Get().Stopped)
	if err != nil {
		return "", err
	}
	return message, l.Advance(ctx, restorenote.Restored)
}

// maxIDs is how many ids of workspaces fit into the note: a ConfigMap holds 1 MiB.
const maxIDs = 20_000

// workspaceIDs are those of the cluster. The env runner stands still, so they do not change any more.
func (r *Restore) workspaceIDs(ctx context.Context) []string {
	if r.Plan.Workspaces == "" {
		return nil
	}
	ids, err := workspaces.IDs(ctx, r.Client, r.Plan.Workspaces)
	if err != nil {
		r.Log.Warn("workspaces that are newer than the backup will not be listed", "cause", err.Error())
	}
	if len(ids) > maxIDs {
		r.Log.Warn("not every workspace that is newer than the backup will be listed",
			"workspaces", len(ids), "compared", maxIDs)
		ids = ids[:maxIDs]
	}
	return ids
}

// finish starts the services and ends the restore. The note goes before they are ready: what keeps them from that, as
// an image, may take an upgrade to fix.
func (r *Restore) finish(ctx context.Context, l *restorenote.Lock) error {
	note := l.Get()
	if err := r.startServices(ctx, note.Services()); err != nil {
		l.Leave(ctx)
		return &hook.Error{Code: hook.HalfRestored,
			Err: fmt.Errorf("the services could not all be started, so run the same command again: %w", err)}
	}
	if err := l.Delete(ctx); err != nil {
		return err
	}
	return r.waitReady(ctx, note.Replicas)
}

// recover ends the Job of a restore that failed or was interrupted. It starts the services again where the databases are
// certainly as before, or both as in the backup. Otherwise the note stays, and the services stay stopped.
func (r *Restore) recover(ctx context.Context, l *restorenote.Lock, cause error) error {
	log := r.Log.With(slog.String("backup", r.Name))
	if errors.Is(cause, restorenote.ErrLost) || errors.Is(context.Cause(ctx), restorenote.ErrLost) {
		return cause
	}
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	note := l.Get()
	if err := r.stopJob(cleaning, r.Plan.Restore.Name); err != nil {
		l.Leave(cleaning)
		return r.unfinished(note, errors.Join(cause, fmt.Errorf("the Job may still be at work: %w", err)))
	}
	if note.Phase == restorenote.Restoring && !r.settled(cause) {
		l.Leave(cleaning)
		return r.unfinished(note, cause)
	}
	log.Info("starting the services again")
	if err := r.startServices(cleaning, note.Services()); err != nil {
		l.Leave(cleaning)
		return errors.Join(cause, fmt.Errorf("the services could not be started; run the same command again: %w", err))
	}
	return errors.Join(cause, l.Delete(cleaning))
}

// settled says whether the end of an attempt says that the two databases fit together. Where an earlier client may have
// replaced one of them, only what the Job itself says counts, which knows that.
func (r *Restore) settled(cause error) bool {
	var notStarted *jobrun.NotStarted
	var started *startedError
	switch {
	case errors.As(cause, &started):
		return false
	case r.halfBefore:
		// Nothing replaced means: still what the attempt before has left.
		return hook.CodeOf(cause) == hook.MigrationFailed
	case errors.As(cause, &notStarted):
		return !notStarted.Ran && !r.takenUp
	}
	switch hook.CodeOf(cause) {
	case hook.Unchanged, hook.MigrationFailed:
		return true
	case hook.Usage, hook.Refused, hook.Busy:
		return !r.takenUp
	}
	return false
}

// unfinished is the error of a restore that another run has to end.
func (r *Restore) unfinished(note restorenote.Note, cause error) error {
	fix := "helm neutree backup restore " + r.Name + " --namespace " + r.Namespace + " finishes it"
	if note.Safety != "" {
		fix += ", helm neutree backup restore " + note.Safety + " --abandon --namespace " + r.Namespace +
			" brings back what was there before"
	}
	return hook.Failf(hook.HalfRestored, finding.BackupHalfRestored, fix,
		"the restore of backup %s did not end, and the services must stay stopped until it has: %v", r.Name, cause)
}

// afterwards does the little that must be done even if ctx has ended.
func afterwards(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	return do(ctx)
}

// describe lists services for people.
func describe(names []string) string { return strings.Join(names, ", ") }
