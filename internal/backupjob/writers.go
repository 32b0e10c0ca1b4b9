package backupjob

import (
	"context"
	"maps"
	"slices"

	"github.com/neutree-ai/packaging/internal/restorenote"
)

// WriterReplicas is how many pods each service that uses the databases is meant to have.
func (r *Runner) WriterReplicas(ctx context.Context) (map[string]int32, error) {
	return (&Restore{Runner: r}).replicas(ctx)
}

// StopWriters scales the services to none and returns when none of their pods is left.
func (r *Runner) StopWriters(ctx context.Context, replicas map[string]int32) error {
	return (&Restore{Runner: r}).standStill(ctx, slices.Sorted(maps.Keys(replicas)))
}

// StartWriters scales the services to as many pods as they are meant to have.
func (r *Runner) StartWriters(ctx context.Context, replicas map[string]int32) error {
	return (&Restore{Runner: r}).startServices(ctx, restorenote.Note{Replicas: replicas})
}
