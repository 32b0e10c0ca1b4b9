package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Copies keeps copies of backups outside the cluster.
type Copies interface {
	// String is where the copies are.
	String() string
	// Continue completes copies of those of list, all backups, that were cut off. check says what is wrong with a backup.
	Continue(ctx context.Context, list []Metadata, check func(context.Context, Metadata) error) error
	// Copy copies a backup, unless there is a complete copy of it.
	Copy(ctx context.Context, m Metadata) error
	// Prune deletes copies beyond the retention. list is all backups.
	Prune(ctx context.Context, list []Metadata) error
	// Maintain copies those of list, all backups, that have no copy, and deletes copies beyond the retention. check
	// says what is wrong with a backup.
	Maintain(ctx context.Context, list []Metadata, check func(context.Context, Metadata) error) error
}

// copyTime bounds the copy of a backup that an upgrade or a restore waits for, and spareTime is what must be left of
// the Job's own. The next backup by hand or on schedule continues with the rest.
const (
	copyTime  = 5 * time.Minute
	spareTime = 30 * time.Second
	// pruneTime bounds deleting copies beyond the retention after a copy that failed.
	pruneTime = 30 * time.Second
)

// copyAway copies the backup m, which is complete. For one that an upgrade or a restore makes a failure is a warning:
// what they go back to is in the PVC. Others also make up for copies that failed.
func (b *Backup) copyAway(ctx context.Context, m Metadata) (Metadata, error) {
	if b.Copies == nil {
		return m, nil
	}
	if m.Kind != Upgrade && m.Kind != Restore {
		return b.copyAll(ctx, m)
	}
	within := copyTime
	if end, has := ctx.Deadline(); has {
		within = min(within, time.Until(end)-spareTime)
	}
	copyCtx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("it takes longer than %s",
		max(0, within).Round(time.Second)))
	defer cancel()
	err := b.copyOne(copyCtx, m)
	switch {
	case err == nil:
		m.Copy = "copied to " + b.Copies.String()
		return m, nil
	case ctx.Err() != nil:
		return m, err
	}
	b.Log.Warn("the backup is complete and has no copy outside the cluster; a later backup makes up for it",
		"name", m.Name, "cause", err.Error())
	m.Copy = "not copied: " + err.Error()
	return m, nil
}

// copyAll copies m, and what has no copy. A copy that was cut off comes first: one that takes longer than a run would
// never be complete if each run began with a newer backup.
func (b *Backup) copyAll(ctx context.Context, m Metadata) (_ Metadata, err error) {
	defer func() {
		if err != nil {
			b.pruneAfter(ctx)
		}
	}()
	list, _, err := b.List()
	if err != nil {
		return m, err
	}
	err = b.Copies.Continue(ctx, list, b.check)
	if err == nil {
		err = b.copyOne(ctx, m)
	}
	if err != nil {
		return m, notCopied(m, b.Spec.Claim, inTime(ctx, err))
	}
	if err := b.Copies.Maintain(ctx, list, b.check); err != nil {
		return m, inTime(ctx, fmt.Errorf("look after the earlier copies: %w", err))
	}
	m.Copy = "copied to " + b.Copies.String()
	return m, nil
}

// pruneAfter deletes copies beyond the retention after a copy that failed, but not where something waits for the end of
// this run.
func (b *Backup) pruneAfter(ctx context.Context) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pruneTime)
	defer cancel()
	if err := b.pruneCopies(ctx); err != nil {
		b.Log.Warn("copies beyond the retention are kept for now", "cause", err.Error())
	}
}

// inTime says of an error after the end of the run's time which value bounds it.
func inTime(ctx context.Context, err error) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return hook.Failf(hook.Deadline, finding.OffsiteTimeout,
		"raise global.hooks.timeouts.backup, or copy to a faster store; the next backup continues with the rest",
		"the time for the backup and its copies has passed (%v)", err)
}

// copyOne copies m. A store that is full may have copies beyond the retention, such as after the retention was lowered.
func (b *Backup) copyOne(ctx context.Context, m Metadata) error {
	err := b.Copies.Copy(ctx, m)
	if !slices.Contains(finding.Of(err).IDs(), string(finding.OffsiteFull)) {
		return err
	}
	b.Log.Warn("deleting copies beyond the retention before the backup is copied again", "cause", err.Error())
	if err := b.pruneCopies(ctx); err != nil {
		return err
	}
	return b.Copies.Copy(ctx, m)
}

func (b *Backup) pruneCopies(ctx context.Context) error {
	list, _, err := b.List()
	if err != nil {
		return err
	}
	if err := b.Copies.Prune(ctx, list); err != nil {
		return fmt.Errorf("delete copies beyond the retention: %w", err)
	}
	return nil
}

// notCopied says of an error that the backup itself is there.
func notCopied(m Metadata, claim string, err error) error {
	found := finding.Of(err)
	if len(found) == 0 {
		return fmt.Errorf("backup %s is complete in PVC %s, and was not copied: %w", m.Name, claim, err)
	}
	found = slices.Clone(found)
	for i := range found {
		found[i].Found = fmt.Sprintf("backup %s is complete in PVC %s, and was not copied: %s", m.Name, claim, found[i].Found)
	}
	var coded *hook.Error
	if errors.As(err, &coded) {
		return &hook.Error{Code: coded.Code, Err: found}
	}
	return found
}
