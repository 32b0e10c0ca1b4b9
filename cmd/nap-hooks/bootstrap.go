package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/bootstrap"
	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

func newBootstrapCommand(o *hook.Options) *cobra.Command {
	return onCluster(o, &cobra.Command{
		Use:   "bootstrap --spec FILE",
		Short: "Bring up the database, prepare the namespace of the workspaces, and migrate",
		Long: `Bring up the database, prepare the namespace of the workspaces, and migrate.

The environment holds DATABASE_URL and, for migrations that encrypt, CREDENTIAL_ENCRYPTION_KEY.
A run that was killed is completed by the next one.`,
	}, func(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.BootstrapSpec) (string, error) {
		b := &bootstrap.Bootstrap{
			Log: log, Client: client, Spec: spec,
			DatabaseURL:   os.Getenv("DATABASE_URL"),
			CredentialKey: os.Getenv("CREDENTIAL_ENCRYPTION_KEY"),
			ResolvConf:    "/etc/resolv.conf",
			Families:      egress.FamiliesOf(os.Getenv(egress.PodIPs), os.Getenv(egress.ServiceHost)),
		}
		result, err := b.Run(ctx)
		if err != nil {
			return "", err
		}
		return b.Summary(result), nil
	})
}
