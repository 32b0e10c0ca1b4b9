package bootstrap

import (
	"context"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// examine looks at a database that an uninstall had stopped before anything is changed in it: what prepares an install
// could not ask it, and refuses the same of one that runs.
func (b *Bootstrap) examine(ctx context.Context, cluster *database.Cluster) error {
	if cluster == nil {
		return nil
	}
	if unexamined, err := cluster.Unexamined(ctx); !unexamined || err != nil {
		return err
	}
	plan, err := b.migrator().Plan(ctx, b.Spec.Migrations)
	if err != nil {
		return err
	}
	standing, err := migrate.Compare(ctx, b.DatabaseURL, b.Spec.Migrations)
	if err != nil {
		return err
	}
	allow := b.Spec.Allow
	switch {
	case len(plan.Ahead) > 0 && !allow.OlderImages:
		return hook.Refuse(migrate.Older(plan.Ahead))
	case standing.Key.Known() && b.CredentialKey != "" && !standing.Key.Matches(b.CredentialKey):
		if !allow.SecretChanges {
			return hook.Refuse(migrate.OtherKey("the Secret with this release's keys", "CREDENTIAL_ENCRYPTION_KEY"))
		}
		if err := migrate.RecordKey(ctx, b.DatabaseURL, b.CredentialKey); err != nil {
			return err
		}
	}
	if b.Spec.SaveFirst && !standing.Empty && len(plan.Pending) > 0 {
		return hook.Refusef(finding.UpgradeKeptDatabase,
			"it runs now, so the same helm command again, as upgrade --install, saves and migrates it",
			"the database that was kept needs %d migrations (the first one is %s), and is to be saved before", len(plan.Pending), plan.Pending[0].Name())
	}
	return cluster.Examined(ctx)
}
