package bootstrap

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/kube"
)

// backupClaim makes the PVC that the Jobs of a schedule mount: they have no rights to do so, and would stay Pending. As
// a part of the release it would be pruned with it, and never be bound where the first pod that mounts it decides where
// it is. It comes last, so that nothing of the platform waits for it.
func (b *Bootstrap) backupClaim(ctx context.Context) error {
	if b.Spec.Scheduled == "" {
		return nil
	}
	plan, err := backupjob.Read(ctx, b.Client, b.Spec.Namespace, b.Spec.Scheduled)
	if apierrors.IsNotFound(err) {
		b.Log.Warn("scheduled backups can't start before there is a PVC for them, which the whole release has to be "+
			"applied for", "missing", "ConfigMap "+b.Spec.Scheduled)
		return nil
	}
	if err != nil {
		return err
	}
	err = backupjob.New(b.Log, b.Client, b.Spec.Namespace, plan).EnsureClaim(ctx)
	if err != nil && ctx.Err() == nil {
		// It can't grow, or a quota has no room for it. The platform is complete, and a backup that does not fit says so.
		b.Log.Warn("the PVC of backups could not be brought to its values; until there is one, scheduled backups don't start",
			"cause", kube.Brief(err))
		return nil
	}
	return err
}
