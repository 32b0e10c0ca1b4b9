package bootstrap

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/examine"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/platform"
)

// examine looks at the database before anything in it is changed. The hook before the main phase has asked the same,
// but not of a database that was stopped then, and not where a tool leaves hooks out.
func (b *Bootstrap) examine(ctx context.Context, cluster *database.Cluster) (examine.Database, error) {
	woken := false
	if cluster != nil {
		var err error
		if woken, err = cluster.Unexamined(ctx); err != nil {
			return examine.Database{}, err
		}
	}
	db, err := examine.Read(ctx, b.DatabaseURL, b.Spec.Migrations)
	if err != nil {
		return db, err
	}
	owner, err := examine.Owner(ctx, b.Client, b.Spec.Namespace, b.Spec.Release)
	if err != nil {
		return db, err
	}
	release := examine.Release{Owner: owner, Sets: b.Spec.Migrations, Allow: b.Spec.Allow}
	if !woken {
		release.New = neverApplied
	}
	if b.CredentialKey != "" {
		release.Key = examine.Key{Secret: b.Spec.EncryptionKey.Secret, Name: b.Spec.EncryptionKey.Key, Value: b.CredentialKey}
	}
	findings, err := examine.Judge(ctx, db, release)
	switch {
	case err != nil:
		return db, err
	case len(findings) > 0:
		return db, hook.Refuse(findings...)
	}
	if b.CredentialKey != "" && db.Key.Known() && !db.Key.Matches(b.CredentialKey) {
		if err := migrate.RecordKey(ctx, b.DatabaseURL, b.CredentialKey); err != nil {
			return db, err
		}
	}
	if db.Owner != owner {
		if err := migrate.Claim(ctx, b.DatabaseURL, owner, b.Spec.Allow.AdoptDatabase); err != nil {
			return db, err
		}
	}
	if !woken {
		return db, nil
	}
	return db, cluster.Examined(ctx)
}

// neverApplied are the sources of images that this database has never been migrated with. The database may be ahead of
// others: a rollback, or an upgrade that failed, looks the same from here, and the hook of a rollback decides on it.
func neverApplied(_ context.Context, db examine.Database) ([]string, error) { return db.Unknown, nil }

// save makes a backup of a database with data that would be migrated. The hook before the main phase saves and migrates
// in one go, so what is still to be migrated here is not saved: the database was stopped, or the hook was left out.
func (b *Bootstrap) save(ctx context.Context, db examine.Database) error {
	if b.Spec.Backup == "" || db.Empty || len(db.Pending) == 0 {
		return nil
	}
	first := db.Pending[0].Name()
	plan, err := backupjob.Read(ctx, b.Client, b.Spec.Namespace, b.Spec.Backup)
	if apierrors.IsNotFound(err) {
		return hook.Refusef(finding.UpgradeKeptDatabase,
			"apply the whole release; or, to migrate without a backup, --set global.backup.skip=true",
			"the database needs %d migrations (the first one is %s) and must be saved before, "+
				"but ConfigMap %s, which says how, does not exist in namespace %s",
			len(db.Pending), first, b.Spec.Backup, b.Spec.Namespace)
	}
	if err != nil {
		return err
	}
	plan.Create.Name = strings.TrimSuffix(plan.Create.Name, "backup") + platform.BackupOfBootstrap
	if err := b.precedence.Take(ctx); err != nil {
		return err
	}
	b.Log.Info("the database is saved before it is migrated", "pending", len(db.Pending), "first", first)
	runner := backupjob.New(b.Log, b.Client, b.Spec.Namespace, plan)
	if b.Jobs != nil {
		runner.Jobs = b.Jobs
	}
	said, err := runner.BeforeUpgrade(ctx)
	if err != nil {
		return fmt.Errorf("nothing was migrated, since the backup before it failed "+
			"(--set global.backup.skip=true leaves it out): %w", err)
	}
	b.Log.Info("saved", "backup", said)
	return nil
}
