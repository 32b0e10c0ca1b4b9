package rotate

import (
	"context"
	"errors"
	"fmt"
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
	if r.takenUp || note.Phase == restorenote.Restored || note.Phase == restorenote.Restoring && !certain(cause) {
		r.lock.Leave(ctx)
		return r.stillStopped(cause)
	}
	r.Log.Info("no credential was changed: the services are started again")
	err := afterwards(ctx, func(ctx context.Context) error {
		if r.before != "" {
			if err := r.changes.Set(ctx, r.ref, r.ring.New(), r.before); err != nil {
				return err
			}
		}
		services := note.Services()
		return r.services.StartWriters(ctx, &services)
	})
	if err != nil {
		r.lock.Leave(ctx)
		return r.stillStopped(errors.Join(cause, err))
	}
	return errors.Join(fmt.Errorf("nothing was changed, and the same command tries again: %w", cause),
		afterwards(ctx, r.lock.Delete))
}

// stillStopped is the error of a rotation that another run has to end.
func (r *rekeying) stillStopped(cause error) error {
	return hook.Failf(hook.HalfRestored, finding.SecretsUnfinished,
		"fix the cause and run the same command again: it finishes the rest with the same new key",
		"the rotation of %s did not end, and the services that read the key stay stopped until it has: %v", r.Name, cause)
}
