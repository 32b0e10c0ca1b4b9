package upgrade

import (
	"context"

	"github.com/neutree-ai/packaging/internal/migrate"
)

// encryptionKey compares the key that services will get with the one that the database was set up with: only the
// database knows, when the content of a Secret has changed. A key that is nowhere any more can't be put back.
func (p *Prepare) encryptionKey(ctx context.Context, db found) error {
	ref := p.Spec.Gate.EncryptionKey
	if ref == nil || !db.standing.Key.Known() || p.Spec.Gate.Allow.SecretChanges {
		return nil
	}
	key, err := p.secretKey(ctx, *ref)
	switch {
	case err != nil || db.standing.Key.Matches(key):
		return err
	case key == "":
		p.Log.Warn("the database was set up with a key that is in no Secret here: credentials which users have stored can't be read", "secret", ref.Secret, "key", ref.Key)
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
