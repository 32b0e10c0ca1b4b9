package prepare

import (
	"context"
	"strings"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restart"
	"github.com/neutree-ai/packaging/internal/secret"
)

// restartUsers restarts the services that read a Secret whose value has changed since they started. It comes last, when
// the database that they will find is up to date.
func (p *Prepare) restartUsers(ctx context.Context) (string, error) {
	if len(p.Spec.Restart) == 0 {
		return "", nil
	}
	changes, err := secret.Compare(ctx, p.Log, p.Client.Resource(kube.Secrets, p.Spec.Namespace), p.Spec.Secrets,
		p.Spec.Migrate.URL.Secret)
	if err != nil {
		return "", err
	}
	restarter := &restart.Restarter{Log: p.Log, Client: p.Client, Namespace: p.Spec.Namespace}
	readers, err := restarter.Readers(ctx, p.Spec.Restart, changes)
	if err != nil {
		return "", err
	}
	if err := restarter.Restart(ctx, readers); err != nil {
		return "", err
	}
	if err := changes.Remember(ctx); err != nil || len(readers) == 0 {
		return "", err
	}
	return "restarted after a change of their Secrets: " + strings.Join(restart.Names(readers), ", "), nil
}
