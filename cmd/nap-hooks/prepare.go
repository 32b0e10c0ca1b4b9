package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/prepare"
)

func newPrepareCommand(o *hook.Options) *cobra.Command {
	return onCluster(o, &cobra.Command{
		Use:   "prepare --spec FILE",
		Short: "Refuse what could not work, make Secrets, pull new images and migrate, before anything is replaced",
	}, func(ctx context.Context, log *slog.Logger, client *kube.Client, spec hook.PrepareSpec) (string, error) {
		jobs := &jobrun.Runner{Log: log, Client: client, Namespace: spec.Namespace, Revision: spec.Revision}
		result, err := (&prepare.Prepare{Log: log, Client: client, Spec: spec, Jobs: jobs}).Run(ctx)
		if err == nil {
			log.Info(result)
		}
		return result, err
	})
}
