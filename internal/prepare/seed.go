package prepare

import (
	"context"
	"fmt"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// seed runs the seeds of this revision, unless the database's record says that they have run. A database that can't be
// asked is seeded by the hook after the main phase, which waits for it, unless its seeds are those of the revision before.
func (p *Prepare) seed(ctx context.Context, db found) (string, error) {
	if !db.answers {
		return "", nil
	}
	spec, err := hook.ReadSpec[hook.SeedSpec](p.Spec.Seed.Spec)
	if err != nil {
		return "", err
	}
	digest, err := spec.Digest()
	if err != nil {
		return "", err
	}
	seeded, err := migrate.Seeded(ctx, db.url, digest)
	if err != nil {
		return "", fmt.Errorf("read the record of seeds: %w", err)
	}
	if seeded {
		return "", nil
	}
	job, err := jobrun.ReadManifest(p.Spec.Seed.Job)
	if err != nil {
		return "", err
	}
	return p.Jobs.Run(ctx, job)
}
