package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// cleanUp bounds what is done after a signal or a failure.
const cleanUp = time.Minute

// afterwards does the little that must be done even if ctx has ended.
func afterwards(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	return do(ctx)
}

// giveUp ends a rotation that has stopped nothing yet. What another client has started stays for the next one.
func (r *rekeying) giveUp(ctx context.Context, cause error) error {
	if errors.Is(cause, restorenote.ErrLost) {
		return cause
	}
	if r.lock.Get().Phase != restorenote.Preparing {
		r.lock.Leave(ctx)
		return r.stillStopped(cause)
	}
	return errors.Join(cause, afterwards(ctx, r.lock.Delete))
}

// recover starts the services again after a failure, with the old key in the Secret, where it is certain that no
// credential has the new one. Otherwise the note stays, and the services stay stopped.
func (r *rekeying) recover(ctx context.Context, cause error) error {
	if errors.Is(cause, restorenote.ErrLost) || errors.Is(context.Cause(ctx), restorenote.ErrLost) {
		return cause
	}
	note := r.lock.Get()
	if note.Phase == restorenote.Restored || note.Phase == restorenote.Restoring && !r.unchanged(cause) {
		r.lock.Leave(ctx)
		return r.stillStopped(cause)
	}
	services := note.Services()
	var wasSet bool
	err := afterwards(ctx, func(ctx context.Context) (err error) {
		if note.Phase == restorenote.Restoring {
			// The next run need not find out again that no credential was changed.
			if err := r.lock.Advance(ctx, restorenote.Stopping); err != nil {
				return err
			}
		}
		wasSet, err = r.setBack(ctx)
		return err
	})
	if err == nil && wasSet {
		// A pod that something else has started meanwhile has read the new key.
		err = afterwards(ctx, func(ctx context.Context) error { return r.services.StopWriters(ctx, &services) })
	}
	if err == nil {
		r.Log.Info("no credential was changed: the services are started again")
		err = afterwards(ctx, func(ctx context.Context) error { return r.services.StartWriters(ctx, &services) })
	}
	if errors.Is(err, restorenote.ErrLost) {
		return err
	}
	if err != nil {
		r.lock.Leave(ctx)
		return r.stillStopped(errors.Join(cause, err))
	}
	return errors.Join(fmt.Errorf("nothing was changed, and the same command tries again: %w", cause),
		afterwards(ctx, r.lock.Delete))
}

// unchanged says whether the end of the Job says that no credential has another key than before, also not because of a
// Job that another client had run.
func (r *rekeying) unchanged(cause error) bool {
	if !r.jobBefore {
		return certain(cause)
	}
	if hook.CodeOf(cause) == hook.Unchanged {
		return true
	}
	// The Job says so once it has read in the database which key the credentials have.
	return slices.ContainsFunc([]finding.ID{finding.SecretsForm, finding.SecretsTableBusy}, func(id finding.ID) bool {
		return certain(cause) && strings.Contains(cause.Error(), "["+string(id)+"]")
	})
}

// setBack has the Secret have the key that the credentials have, and says whether it had another one.
func (r *rekeying) setBack(ctx context.Context) (wasSet bool, err error) {
	old := r.before
	if old == "" {
		live, err := r.changes.Value(ctx, r.ref)
		if err != nil || live != r.ring.New() || r.changes.StartedWith(r.ref, live) {
			return false, err
		}
		// A run that was killed has written the new key.
		old = r.ring.Find(func(key string) bool { return r.changes.StartedWith(r.ref, key) })
	}
	switch {
	case r.secret.Existing:
		return false, fmt.Errorf("no credential was changed, but the Secret %s has the new key", r.ref.Secret)
	case old == "":
		return false, errors.New("the Secret has the new key, and the old one is not known")
	}
	return true, r.changes.Set(ctx, r.ref, r.ring.New(), old)
}

// isPutBack says whether a rotation that has changed no credential ends, since its user has put the old key back into a
// Secret that this command never writes.
func (r *rekeying) isPutBack(ctx context.Context, left *restorenote.Note) (bool, error) {
	if left == nil || left.Phase != restorenote.Stopping || !r.secret.Existing {
		return false, nil
	}
	live, err := r.changes.Value(ctx, r.ref)
	return err == nil && r.changes.StartedWith(r.ref, live), err
}

// putBack ends such a rotation.
func (r *rekeying) putBack(ctx context.Context) (string, error) {
	note := r.lock.Get()
	services := note.Services()
	// A pod that something else has started meanwhile may have read the other key.
	err := r.services.StopWriters(ctx, &services)
	if err == nil {
		err = r.services.StartWriters(ctx, &services)
	}
	if err == nil {
		err = r.ring.Retire(ctx)
	}
	if err != nil {
		r.lock.Leave(ctx)
		return "", r.stillStopped(err)
	}
	if err := r.lock.Delete(ctx); err != nil {
		return "", err
	}
	if err := r.services.WaitReady(ctx, &services); err != nil {
		return "", fmt.Errorf("the old key is used again, but the services are not ready: %w", err)
	}
	return fmt.Sprintf("%s has its old value again, which was put back into the Secret: no credential was changed; "+
		"started %s", r.Name, strings.Join(r.services.Plan.Writers, ", ")), nil
}

// stillStopped is the error of a rotation that another run has to end.
func (r *rekeying) stillStopped(cause error) error {
	fix := "fix the cause and run the same command again: it finishes the rest with the same new key"
	if r.secret.Existing {
		fix += "; or put the old key back into the Secret and run the same command again"
	}
	return hook.Failf(hook.HalfRestored, finding.SecretsUnfinished, fix,
		"the rotation of %s did not end, and the services that read the key stay stopped until it has: %v", r.Name, cause)
}
