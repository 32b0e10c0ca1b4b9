package backupjob

import (
	"context"
	"maps"
	"slices"

	"github.com/neutree-ai/packaging/internal/restorenote"
)

// Writers are the services that use the databases, as they are meant to run.
func (r *Runner) Writers(ctx context.Context) (*restorenote.Services, error) {
	restore := &Restore{Runner: r}
	replicas, err := restore.replicas(ctx)
	if err != nil {
		return nil, err
	}
	owners := restore.owners(ctx, slices.Sorted(maps.Keys(replicas)))
	return &restorenote.Services{Replicas: replicas, Owners: owners}, nil
}

// StopWriters scales the services to none and returns when none of their pods is left.
func (r *Runner) StopWriters(ctx context.Context, services *restorenote.Services) error {
	return (&Restore{Runner: r}).standStill(ctx, slices.Sorted(maps.Keys(services.Replicas)))
}

// StartWriters scales the services to as many pods as they are meant to have, and gives these numbers back to the field
// managers that they had.
func (r *Runner) StartWriters(ctx context.Context, services *restorenote.Services) error {
	return (&Restore{Runner: r}).startServices(ctx, *services)
}

// WaitReady returns when the services have as many pods as they are meant to have.
func (r *Runner) WaitReady(ctx context.Context, services *restorenote.Services) error {
	return (&Restore{Runner: r}).waitReady(ctx, services.Replicas)
}
