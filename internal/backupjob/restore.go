package backupjob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Restore brings a release's databases back to a backup while its services stand still.
type Restore struct {
	*Runner
	// Name is the backup.
	Name string
	// AllowNewer admits a backup of a newer release.
	AllowNewer bool
	// NoSafetyBackup leaves out the backup of what is there now.
	NoSafetyBackup bool
}

// cleanUp bounds what is done after a signal or a failure: the services are started again whatever happened.
const cleanUp = time.Minute

// Run restores and returns one sentence on it. What it has done it keeps in a ConfigMap, so that the same call after a
// client that was killed goes on where that one stopped.
func (r *Restore) Run(ctx context.Context) (string, error) {
	state, err := r.readState(ctx)
	if err != nil {
		return "", err
	}
	if state.Backup != "" && state.Backup != r.Name {
		return "", hook.Refusef(finding.BackupUnfinished,
			"finish it first with helm neutree backup restore "+state.Backup,
			"a restore of backup %s was begun and did not end", state.Backup)
	}
	if state.Backup == "" {
		if state, err = r.prepare(ctx); err != nil {
			return "", err
		}
	} else {
		r.Log.Info("a restore that did not end is taken up again", "backup", r.Name, "safety backup", state.Safety)
	}
	result, err := r.restore(ctx, state)
	if err != nil {
		return "", r.recover(ctx, state, err)
	}
	if err := r.startServices(ctx, state.Replicas); err != nil {
		return "", fmt.Errorf("%s; but the services could not be started, run the same command again: %w", result, err)
	}
	if err := r.waitReady(ctx, state.Replicas); err != nil {
		return "", fmt.Errorf("%s; but: %w", result, err)
	}
	if err := r.deleteState(ctx); err != nil {
		return "", err
	}
	if state.Safety != "" {
		result += "; what was there before is backup " + state.Safety
	}
	return result, nil
}

// prepare proves that the backup is good and saves what there is, while everything still runs.
func (r *Restore) prepare(ctx context.Context) (state, error) {
	r.Log.Info("checking the backup", "backup", r.Name)
	summary, err := r.Check(ctx, r.Name, r.AllowNewer)
	if err != nil {
		return state{}, err
	}
	r.Log.Info("the backup is good", "is", summary)
	s := state{Backup: r.Name}
	if !r.NoSafetyBackup {
		s.Safety = "before-restore-" + backup.NewName(time.Now())
		r.Log.Info("saving what there is now", "backup", s.Safety)
		if _, err := r.Create(ctx, s.Safety, "before the restore of "+r.Name, r.Name); err != nil {
			return state{}, fmt.Errorf("nothing was changed, since what there is now could not be saved (--no-safety-backup leaves that out): %w", err)
		}
	}
	if s.Replicas, err = r.replicas(ctx); err != nil {
		return state{}, err
	}
	return s, r.writeState(ctx, s)
}

// restore stops the services and runs the Job.
func (r *Restore) restore(ctx context.Context, s state) (string, error) {
	if err := r.stopServices(ctx, s.Replicas); err != nil {
		return "", err
	}
	r.Log.Info("restoring", "backup", r.Name)
	return r.run(ctx, r.Plan.Restore, r.Plan.Restore.Name, r.restoreArgs("restore", r.Name, r.AllowNewer)...)
}

// recover ends the Job of a restore that failed or was interrupted, and starts the services on the databases as they
// are: as before, or as in the backup when the Job was just done.
func (r *Restore) recover(ctx context.Context, s state, cause error) error {
	log := r.Log.With(slog.String("backup", r.Name))
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	if err := r.stopJob(cleaning, r.Plan.Restore.Name); err != nil {
		return errors.Join(cause, fmt.Errorf("the services stay stopped, since the restore may still be at work; run the same command again: %w", err))
	}
	log.Info("starting the services again")
	if err := r.startServices(cleaning, s.Replicas); err != nil {
		return errors.Join(cause, fmt.Errorf("the services could not be started; run the same command again: %w", err))
	}
	return errors.Join(cause, r.deleteState(cleaning))
}

// describe lists services for people.
func describe(names []string) string { return strings.Join(names, ", ") }
