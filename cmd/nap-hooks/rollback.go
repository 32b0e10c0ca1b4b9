package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/prepare"
)

func newRollbackCommand(o *hook.Options) *cobra.Command {
	return onCluster(o, &cobra.Command{
		Use:   "rollback --spec FILE",
		Short: "Decide whether an older revision can use the database as it is",
	}, func(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.RollbackSpec) (string, error) {
		result, err := (&prepare.Rollback{Log: log, Client: client, Spec: spec}).Run(ctx)
		if err == nil {
			log.Info(result)
		}
		return result, err
	})
}
