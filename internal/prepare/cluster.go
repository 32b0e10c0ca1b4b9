package prepare

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restart"
)

// compareTime bounds the wait for an operator that admits nothing now: it may be what an upgrade fixes.
const compareTime = 30 * time.Second

// plaintext refuses a database that would refuse connections without TLS while services run that connect so: the change
// comes before they are replaced.
func (p *Prepare) plaintext(ctx context.Context) ([]finding.Finding, error) {
	gate := p.Spec.Gate
	if p.Spec.Migrate.External != nil || gate.Manifest == "" {
		return nil, nil
	}
	manifest, err := database.ReadManifest(gate.Manifest)
	if err != nil || !database.RequiresTLS(manifest) {
		return nil, err
	}
	name, err := WithoutTLS(ctx, p.Client, p.Spec)
	if name == "" || err != nil {
		return nil, err
	}
	return []finding.Finding{{
		ID: finding.UpgradeDatabaseValues, Severity: finding.Error, Value: "global.database.cnpg.requireTLS",
		Object: fmt.Sprintf("Deployment %s/%s", p.Spec.Namespace, name),
		Found: fmt.Sprintf("the pods of Deployment %s connect to the database without TLS, which "+
			"global.database.cnpg.requireTLS=always would refuse before they are replaced", name),
		Fix: "upgrade with global.database.cnpg.requireTLS=auto first, and set always in the next upgrade",
	}}, nil
}

// WithoutTLS is a Deployment of the release whose pods connect to the database without TLS, empty for none.
func WithoutTLS(ctx context.Context, client *kube.Client, spec hook.PrepareSpec) (string, error) {
	for _, name := range spec.Restart {
		live, err := restart.Deployment(ctx, client, spec.Namespace, name)
		if err != nil {
			return "", err
		}
		if live == nil {
			continue
		}
		for _, ref := range restart.Reads(live.Spec.Template.Spec) {
			if url := spec.Migrate.URL; ref.Secret == url.Secret && ref.Key != url.Key {
				return name, nil
			}
		}
	}
	return "", nil
}

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

// admitCluster lets the operator judge the Cluster of this revision before anything is changed. One that would upgrade
// the data is judged when that begins.
func (p *Prepare) admitCluster(ctx context.Context) error {
	gate := p.Spec.Gate
	if p.Spec.Migrate.External != nil || gate.Manifest == "" {
		return nil
	}
	manifest, err := database.ReadManifest(gate.Manifest)
	if err != nil {
		return err
	}
	cluster := database.New(p.Log, p.Client, p.Spec.Namespace, p.Spec.Migrate.Cluster)
	if gate.Allow.MajorUpgrade {
		if _, to, _, err := cluster.RaisesMajor(ctx, manifest); err != nil || to > 0 {
			return err
		}
	}
	return cluster.Admits(ctx, manifest)
}
