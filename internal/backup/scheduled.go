package backup

import (
	"context"
	"slices"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// CreateScheduled makes the backup of a Job of the schedule. While a restore has not ended, an upgrade needs the
// database, or another run uses the volume, it ends with exit code hook.Busy and the reason: the Job tries that again
// and counts no failure. An upgrade that starts meanwhile cuts it off in the same way.
func (b *Backup) CreateScheduled(ctx context.Context, job string) (Metadata, error) {
	if err := b.refuseDuringRestore(); err != nil {
		return Metadata{}, err
	}
	list, _, err := b.List()
	if err != nil {
		return Metadata{}, err
	}
	name := scheduledPrefix + NewName(time.Now())
	// A pod of the Job that was lost after it had made the backup.
	if i := slices.IndexFunc(list, func(m Metadata) bool { return m.Job == job }); i >= 0 {
		if b.Copies == nil {
			return list[i], b.check(ctx, list[i])
		}
		name = list[i].Name
	}
	watched, done, err := migrate.GiveWay(ctx, b.Log, b.DatabaseURL)
	if err != nil {
		return Metadata{}, err
	}
	defer done()
	scheduled := *b
	scheduled.job = job
	m, err := scheduled.Create(watched, name, "on schedule", "")
	if err != nil && watched.Err() != nil && ctx.Err() == nil {
		return Metadata{}, context.Cause(watched)
	}
	return m, err
}

// refuseDuringRestore refuses while the note says that a restore has not ended.
func (b *Backup) refuseDuringRestore() error {
	if b.Note == "" {
		return nil
	}
	note, err := restorenote.ReadMounted(b.Note, b.Spec.Namespace, b.Spec.RestoreNote)
	if note == nil || err != nil {
		return err
	}
	return &hook.Error{
		Code: hook.Busy, Err: finding.List{note.NoBackup(b.Spec.Namespace, b.Spec.RestoreNote)},
	}
}
