package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
)

// unansweredError says that it could not be asked whether a run may still commit something.
type unansweredError struct{ err error }

func (e *unansweredError) Error() string { return e.err.Error() }
func (e *unansweredError) Unwrap() error { return e.err }

// mayCommit asks once whether the run is still wanted. It is called with locks held, so it does not wait for an answer.
func (m Migrator) mayCommit(ctx context.Context) error {
	if m.StillPending == nil {
		return nil
	}
	err := m.StillPending(ctx)
	var final *hook.Error
	if err == nil || errors.As(err, &final) {
		return err
	}
	return &unansweredError{err}
}

// answerPatience bounds the wait for an answer while nothing is locked.
const answerPatience = time.Minute

// awaitPending is mayCommit with patience.
func (m Migrator) awaitPending(ctx context.Context) error {
	if m.StillPending == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	const what = "an answer whether the release is still being upgraded"
	return hook.Poll(bounded, m.Log, what, func(ctx context.Context) (bool, string, error) {
		err := m.mayCommit(ctx)
		var unanswered *unansweredError
		if errors.As(err, &unanswered) {
			return false, err.Error(), nil
		}
		return err == nil, "", err
	})
}
