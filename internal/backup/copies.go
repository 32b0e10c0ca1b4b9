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
)

// copyAway copies the backup m, which is complete. For one that an upgrade or a restore makes a failure is a warning:
// what they go back to is in the claim. Others also make up for copies that failed.
func (b *Backup) copyAway(ctx context.Context, m Metadata) (Metadata, error) {
	if b.Copies == nil {
		return m, nil
	}
	automatic := m.Kind == Upgrade || m.Kind == Restore
	copyCtx, cancel := ctx, context.CancelFunc(func() {})
	if automatic {
		within := copyTime
		if end, has := ctx.Deadline(); has {
			within = min(within, time.Until(end)-spareTime)
		}
		copyCtx, cancel = context.WithTimeoutCause(ctx, within, fmt.Errorf("it takes longer than %s",
			max(0, within).Round(time.Second)))
	}
	defer cancel()
	err := b.copyOne(copyCtx, m)
	if err == nil && !automatic {
		err = b.maintainCopies(ctx)
		if err != nil {
			return m, err
		}
	}
	switch {
	case err == nil:
		m.Copy = "copied to " + b.Copies.String()
		return m, nil
	case !automatic:
		return m, notCopied(m, b.Spec.Claim, err)
	case ctx.Err() != nil:
		return m, err
	}
	b.Log.Warn("the backup is complete and has no copy outside the cluster; a later backup makes up for it",
		"name", m.Name, "cause", err.Error())
	m.Copy = "not copied: " + err.Error()
	return m, nil
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

func (b *Backup) maintainCopies(ctx context.Context) error {
	list, _, err := b.List()
	if err != nil {
		return err
	}
	if err := b.Copies.Maintain(ctx, list, b.check); err != nil {
		return fmt.Errorf("look after the earlier copies: %w", err)
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
