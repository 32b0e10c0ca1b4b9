package prepare

import (
	"context"
	"fmt"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// encryptionKey compares the key that services will get with the one that the database was set up with: only the
// database knows, when the content of a Secret has changed. Where there is none, another would be made.
func (p *Prepare) encryptionKey(ctx context.Context, db found) ([]finding.Finding, error) {
	ref := p.Spec.Gate.EncryptionKey
	holdsData := db.kept || db.answers && !db.standing.Empty || db.standing.Key.Known()
	if ref == nil || !holdsData || p.Spec.Gate.Allow.SecretChanges {
		return nil, nil
	}
	key, err := p.secretKey(ctx, *ref)
	switch {
	case err != nil:
		return nil, err
	case key == "":
		return []finding.Finding{{
			ID: finding.UpgradeEncryptionKey, Severity: finding.Error, Object: fmt.Sprintf("Secret %s/%s", p.Spec.Namespace, ref.Secret),
			Found: fmt.Sprintf("Secret %s in namespace %s holds no %s, which the database that is there was set up with", ref.Secret, p.Spec.Namespace, ref.Key),
			Why:   "credentials which users have stored could not be read any more",
			Fix:   "put the Secret back, or, if it is lost, --set global.upgrade.allowSecretChanges=true",
		}}, nil
	case !db.standing.Key.Known() || db.standing.Key.Matches(key):
		return nil, nil
	}
	return []finding.Finding{migrate.OtherKey(fmt.Sprintf("Secret %s in namespace %s", ref.Secret, p.Spec.Namespace), ref.Key)}, nil
}

// recordKey has a database that is in use remember its key, unless it does already. It comes after the check above, and
// before anything that may fail and be tried again.
func (p *Prepare) recordKey(ctx context.Context, db found) error {
	ref := p.Spec.Gate.EncryptionKey
	if ref == nil || !db.answers || db.standing.Empty && !db.standing.Key.Known() {
		return nil
	}
	key, err := p.secretKey(ctx, *ref)
	if err != nil || key == "" || db.standing.Key.Matches(key) {
		return err
	}
	return migrate.RecordKey(ctx, db.url, key)
}
