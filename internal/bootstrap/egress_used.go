package bootstrap

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// sayCut logs what of the URLs in the database the policy keeps workspaces from, or would.
func (b *Bootstrap) sayCut(ctx context.Context, policy *networkingv1.NetworkPolicy, verb string) {
	cut, err := b.cutOf(ctx, policy)
	if err != nil {
		b.Log.Warn("the addresses of model providers and MCP servers were not compared with the policy for workspaces",
			"cause", err.Error())
		return
	}
	for _, one := range cut {
		b.Log.Warn("the policy for workspaces "+verb+" what users have set", "address", one, "value", egress.Allow)
	}
}

func (b *Bootstrap) cutOf(ctx context.Context, policy *networkingv1.NetworkPolicy) ([]string, error) {
	conn, err := migrate.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return nil, err
	}
	defer migrate.Close(ctx, conn)
	return egress.Lost(ctx, conn, b.Spec.Namespace, policy, b.Families)
}
