package prepare

import (
	"context"

	"github.com/neutree-ai/packaging/internal/examine"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// examine holds the database to what the release brings along.
func (p *Prepare) examine(ctx context.Context, db found) ([]finding.Finding, error) {
	if !db.answers && !db.kept {
		return nil, nil
	}
	owner, err := examine.Owner(ctx, p.Client, p.Spec.Namespace, p.Spec.Gate.Release)
	if err != nil {
		return nil, err
	}
	release := examine.Release{Owner: owner, Sets: p.Spec.Migrate.Sets, New: p.newSources, Allow: p.Spec.Gate.Allow}
	if ref := p.Spec.Gate.EncryptionKey; ref != nil {
		value, err := p.secretKey(ctx, *ref)
		if err != nil {
			return nil, err
		}
		release.Key = examine.Key{Secret: ref.Secret, Name: ref.Key, Value: value}
	}
	return examine.Judge(ctx, db.state, release)
}

// recordKey has a database that is in use remember its key, unless it does already. It comes after the check above, and
// before anything that may fail and be tried again.
func (p *Prepare) recordKey(ctx context.Context, db found) error {
	ref := p.Spec.Gate.EncryptionKey
	if ref == nil || !db.answers || db.state.Empty && !db.state.Key.Known() {
		return nil
	}
	key, err := p.secretKey(ctx, *ref)
	if err != nil || key == "" || db.state.Key.Matches(key) {
		return err
	}
	return migrate.RecordKey(ctx, db.url, key)
}

// claim has the database remember which release it belongs to, before anything is migrated.
func (p *Prepare) claim(ctx context.Context, db found) error {
	if !db.answers {
		return nil
	}
	owner, err := examine.Owner(ctx, p.Client, p.Spec.Namespace, p.Spec.Gate.Release)
	if err != nil || db.state.Owner == owner {
		return err
	}
	return migrate.Claim(ctx, db.url, owner, p.Spec.Gate.Allow.AdoptDatabase)
}
