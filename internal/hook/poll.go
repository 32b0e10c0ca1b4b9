package hook

import (
	"context"
	"log/slog"
	"time"
)

// Condition tells whether something is so, and if not, in a few words what is missing.
type Condition func(ctx context.Context) (done bool, missing string, err error)

const (
	firstPause = 50 * time.Millisecond
	// briefPause is the longest during the first minutes: an install is a chain of waits, each of which ends late by half
	// of a pause. What takes longer than patientAfter is in trouble, and need not be asked so often.
	briefPause   = 300 * time.Millisecond
	patientAfter = 2 * time.Minute
	longestPause = time.Second
	reportEvery  = 15 * time.Second
)

// nextPause follows a pause, of a wait that has lasted for elapsed.
func nextPause(pause, elapsed time.Duration) time.Duration {
	if elapsed < patientAfter {
		return min(pause*3/2, briefPause)
	}
	return min(pause*3/2, longestPause)
}

// Poll asks until the condition holds. It logs what is missing when that changes, and every 15
// seconds. When the deadline of ctx passes, the error (Deadline) names what was missing. An error
// of the condition ends the wait.
func Poll(ctx context.Context, log *slog.Logger, what string, condition Condition) error {
	start := time.Now()
	var last string
	var reported time.Time
	for pause := firstPause; ; pause = nextPause(pause, time.Since(start)) {
		done, missing, err := condition(ctx)
		if err != nil {
			return err
		}
		if done {
			return nil
		}
		// An attempt that the deadline cut off says nothing about what was missing.
		if !over(ctx) || last == "" {
			if missing != last || time.Since(reported) >= reportEvery {
				log.Info("waiting for "+what, "missing", missing, "elapsed", time.Since(start).Round(time.Second).String())
				reported = time.Now()
			}
			last = missing
		}
		select {
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				return Errorf(Deadline, "gave up waiting for %s after %s: %s", what, time.Since(start).Round(time.Second), last)
			}
			return Errorf(Unexpected, "stopped by a signal while waiting for %s: %s", what, last)
		case <-time.After(pause):
		}
	}
}

// over says whether the time of ctx has passed. The network package goes by the clock, a moment before ctx itself ends.
func over(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return ctx.Err() != nil || has && !time.Now().Before(deadline)
}
