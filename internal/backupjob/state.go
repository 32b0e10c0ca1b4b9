package backupjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/stop"
)

// patience is how long a client may not be heard of before another one may take its restore up.
func (r *Restore) patience() time.Duration {
	return cmp.Or(r.Patience, restorenote.Patience)
}

// noteName is that of the ConfigMap. It is called after the Job.
func (r *Runner) noteName() string { return r.Plan.Restore.Name }

// acquire creates the note, or takes over that of a client which is gone, and returns what that had left, nil if nothing.
func (r *Restore) acquire(ctx context.Context) (*restorenote.Lock, *restorenote.Note, error) {
	left, config, err := restorenote.Read(ctx, r.Client, r.Namespace, r.noteName())
	if err != nil {
		return nil, nil, err
	}
	if left == nil {
		if r.Name == "" {
			return nil, nil, hook.Refusef(finding.BackupUnfinished, "",
				"namespace %s has no unfinished restore to give up", r.Namespace)
		}
		l, err := r.createNote(ctx)
		if err != nil {
			return nil, nil, err
		}
		// The note comes first: an upgrade that has not looked for it by now finds it, and so does a scheduled backup.
		if err := r.refuseUpgrade(ctx); err != nil {
			return nil, nil, errors.Join(err, afterwards(ctx, l.Delete))
		}
		return l, nil, nil
	}
	if left.Rotation != "" {
		return nil, nil, hook.Refuse(left.Finding(r.Namespace, r.noteName()))
	}
	if left.Backup != r.Name && !r.Abandon {
		return nil, nil, r.refuseAnother(left)
	}
	if left.Holder != "" {
		if err := r.waitForSilence(ctx, left, config); err != nil {
			return nil, nil, err
		}
	}
	l, err := restorenote.Take(ctx, r.Client, r.Namespace, *left, config)
	return l, left, err
}

// stopScheduled ends scheduled backups, which would read the databases while they are replaced. Those that start from
// now on find the note. A client before this one may have been killed before it did so.
func (r *Restore) stopScheduled(ctx context.Context) error {
	stopper := &stop.Stopper{Log: r.Log, Client: r.Client, Namespace: r.Namespace}
	jobs, err := stopper.Scheduled(ctx, r.Plan.Release)
	if err != nil {
		return err
	}
	if _, err := stopper.Stop(ctx, jobs...); err != nil {
		return fmt.Errorf("the databases were not touched, since a scheduled backup could not be stopped: %w", err)
	}
	return nil
}

// refuseUpgrade refuses while Jobs of an upgrade are running: it would start the services in the middle of a restore, and
// the database is what a drill would take time from.
func (r *Runner) refuseUpgrade(ctx context.Context) error {
	stopper := &stop.Stopper{Log: r.Log, Client: r.Client, Namespace: r.Namespace}
	jobs, err := stopper.Of(ctx, r.Plan.Release, strings.TrimSuffix(r.Plan.Restore.Name, "-restore"))
	if err != nil {
		return err
	}
	// Bootstrap looks for the note before it migrates, and one that fails may be why the restore is needed.
	jobs = slices.DeleteFunc(jobs, func(job stop.Job) bool {
		return strings.Contains(job.Name, "-"+platform.Bootstrap+"-")
	})
	running, err := stopper.Running(ctx, jobs...)
	if err != nil || len(running) == 0 {
		return err
	}
	return hook.Failf(hook.Busy, finding.BackupBusy,
		"wait until the upgrade has ended; one whose client was killed is ended by helm neutree recover "+r.Plan.Release+
			" --namespace "+r.Namespace,
		"an upgrade of release %s in namespace %s is running (Job %s)", r.Plan.Release, r.Namespace,
		strings.Join(running, ", "))
}

func (r *Restore) refuseAnother(left *restorenote.Note) error {
	f := left.Finding(r.Namespace, r.noteName())
	return hook.Refuse(finding.Finding{ID: f.ID, Severity: f.Severity, Object: f.Object, Found: f.Found,
		Why: "nothing was changed", Fix: left.WaysOut(r.Namespace)})
}

// waitForSilence refuses while the client that holds the note is alive.
func (r *Restore) waitForSilence(ctx context.Context, left *restorenote.Note, config *corev1.ConfigMap) error {
	busy := func(is string) error {
		return hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends", "%s %s %s in namespace %s",
			left.Holder, is, left.What(), r.Namespace)
	}
	r.Log.Info("another client has started a restore; finding out whether it still works on it", "client", left.Holder)
	return restorenote.Silence(ctx, r.Log, r.Client, left, config, r.patience(), busy)
}

func (r *Restore) createNote(ctx context.Context) (*restorenote.Lock, error) {
	l, err := restorenote.Create(ctx, r.Client, r.Namespace, r.noteName(), r.Plan.Release, restorenote.Note{
		Backup: r.Name, Replicas: map[string]int32{}, Phase: restorenote.Preparing, ID: rand.String(10),
		Started: time.Now().UTC().Truncate(time.Second),
	})
	if apierrors.IsAlreadyExists(err) {
		return nil, hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends",
			"another client has just started a restore in namespace %s", r.Namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("note the restore in namespace %s: %s", r.Namespace, kube.Brief(err))
	}
	return l, nil
}
