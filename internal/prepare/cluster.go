package prepare

import (
	"cmp"
	"context"
	"time"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/hook"
)

// compareTime bounds the wait for an operator that admits nothing now: it may be what an upgrade fixes.
const compareTime = 30 * time.Second

// changeCluster brings a database of ours that runs to the values of this revision, and returns when PostgreSQL runs
// with them: what restarts it must not happen while services are replaced. One that does not run is left to bootstrap.
func (p *Prepare) changeCluster(ctx context.Context, db found) (string, error) {
	gate := p.Spec.Gate
	if p.Spec.Migrate.External != nil || gate.Manifest == "" || !db.answers && db.silence == nil {
		return "", nil
	}
	manifest, err := database.ReadManifest(gate.Manifest)
	if err != nil {
		return "", err
	}
	cluster := database.New(p.Log, p.Client, p.Spec.Namespace, p.Spec.Migrate.Cluster)
	raised, err := p.raiseMajor(ctx, db, cluster, manifest)
	if err != nil || raised != "" || !db.answers {
		return raised, err
	}
	ask, cancel := context.WithTimeout(ctx, cmp.Or(p.CompareTime, compareTime))
	defer cancel()
	change, err := cluster.Compare(ask, manifest)
	if hook.CodeOf(err) == hook.Deadline && ctx.Err() == nil {
		p.Log.Warn("the values of the database can't be compared now: they are applied with the rollout", "cause",
			err.Error())
		return "", nil
	}
	if err != nil {
		return "", err
	}
	changing := &database.Changing{Cluster: cluster, URL: db.url, Patience: p.ChangeTime, Forward: p.forward}
	return changing.Run(ctx, change)
}
