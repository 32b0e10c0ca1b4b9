package upgrade

import (
	"context"

	"github.com/neutree-ai/packaging/internal/migrate"
)

// encryptionKey compares the key that services will get with the one that the database was set up with: only the
// database knows, when the content of a Secret has changed. Of one that is stopped it can only tell that it has a key.
func (p *Prepare) encryptionKey(ctx context.Context, db found) error {
	ref := p.Spec.Gate.EncryptionKey
	if ref == nil || p.Spec.Gate.Allow.SecretChanges || !db.stopped && !db.standing.Key.Known() {
		return nil
	}
	key, err := p.secretKey(ctx, *ref)
	switch {
	case err != nil:
		return err
	case key == "":
		return problemf("Secret %s in namespace %s holds no %s, which the database that is kept was set up with: credentials which users have stored could not be read any more; put the Secret back, or, if it is lost, --set global.upgrade.allowSecretChanges=true",
			ref.Secret, p.Spec.Namespace, ref.Key)
	case db.stopped || db.standing.Key.Matches(key):
		return nil
	}
	return problemf("Secret %s in namespace %s holds another %s than the one that the database was set up with: credentials which users have stored could not be read any more; put the old one back, or, if the loss is meant, --set global.upgrade.allowSecretChanges=true",
		ref.Secret, p.Spec.Namespace, ref.Key)
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
