package bootstrap

import (
	"context"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/workspaces"
)

// unfinishedRestore refuses while a restore has not ended: migrations would meet a database that is being replaced.
func (b *Bootstrap) unfinishedRestore(ctx context.Context) error {
	return kube.Refuse(restorenote.Unfinished(ctx, b.Client, b.Spec.Namespace, b.Spec.RestoreNote))
}

// namedUnknown is how many workspaces that the database does not know are named: all of 10,000 would be too long a message.
const namedUnknown = 50

// holdUnknown keeps workspaces from being started again that the database does not know: a restore of an older backup
// has forgotten them, and their pods would only fail.
func (b *Bootstrap) holdUnknown(ctx context.Context) error {
	namespace := b.Spec.Workspaces.Namespace
	held, err := workspaces.Hold(ctx, b.Client, namespace, func(ctx context.Context, ids []string) ([]string, error) {
		conn, err := migrate.Connect(ctx, b.DatabaseURL)
		if err != nil {
			return nil, err
		}
		defer migrate.Close(ctx, conn)
		return migrate.UnknownWorkspaces(ctx, conn, ids)
	})
	b.unknown = len(held)
	if len(held) > 0 {
		named := held[:min(len(held), namedUnknown)]
		b.Log.Warn(workspaces.Leftover(namespace, named, len(held)-len(named)))
	}
	return err
}
