package teardown

import (
	"cmp"
	"context"
	"time"

	"github.com/neutree-ai/packaging/internal/stop"
)

// stopUpgrade ends what an install or upgrade that was cancelled still runs: it would migrate the database that is to
// be kept, or lose it in the middle of that. A scheduled backup would lose it too.
func (t *Teardown) stopUpgrade(ctx context.Context) {
	if t.Spec.Prefix == "" {
		return
	}
	stopper := &stop.Stopper{
		Log: t.Log, Client: t.Client, Namespace: t.Spec.Namespace, Wait: cmp.Or(t.UpgradeWait, 20*time.Second),
	}
	jobs, err := stopper.Of(ctx, t.Spec.Release, t.Spec.Prefix)
	scheduled, scheduledErr := stopper.Scheduled(ctx, t.Spec.Release)
	_, stopErr := stopper.Stop(ctx, append(jobs, scheduled...)...)
	for _, err := range []error{err, scheduledErr, stopErr} {
		if err != nil {
			t.warn("stop what an upgrade left running", err)
		}
	}
}
