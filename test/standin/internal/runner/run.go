// Package runner plays the runner that makes workspaces: it reads from the database what the control plane
// wants and makes Kubernetes agree, with no other rights than the real one uses.
package runner

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"k8s.io/client-go/kubernetes"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/generation"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

type options struct {
	databaseURL string
	poolSize    int
	interval    time.Duration
	kubeconfig  string
	contract    generation.Contract
	workspaces  workspace.Settings
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	env.Workload("env-runner-k8s")
	o := options{
		databaseURL: env.Database("DATABASE_URL"),
		poolSize:    env.Int("PG_POOL_MAX", 20),
		interval:    time.Duration(env.Int("ENV_RUNNER_INTERVAL_MS", 15000)) * time.Millisecond,
		kubeconfig:  env.Optional("KUBECONFIG", ""),
		contract:    generation.Read(env),
	}
	env.Required("AGENT_STORAGE_CLASS")
	env.File("AFS_PROTO_PATH", "proto/afs.proto")
	if mode := env.Optional("RUNNER_MODE", "direct"); mode != "direct" {
		return options{}, fmt.Errorf("wrong environment: RUNNER_MODE %s is not played by the stand-in", mode)
	}
	var err error
	o.workspaces, err = workspace.ReadSettings(env)
	return o, err
}

type runner struct {
	workspace.Settings
	contract generation.Contract
	pool     *pgxpool.Pool
	kube     kubernetes.Interface
	log      *slog.Logger
}

// Run is the runner from boot to SIGTERM. Whatever fails in a round is logged and tried again in the next.
func Run(p *process.Process) error {
	o, err := readOptions(p)
	if err != nil {
		return err
	}
	ctx, stop := process.Hear(syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	client, err := workspace.Client(o.kubeconfig)
	if err != nil {
		return err
	}
	pool, err := connect(ctx, p, o)
	if err != nil {
		return nil // Told to stop before the database answered.
	}
	defer pool.Close()
	r := &runner{Settings: o.workspaces, contract: o.contract, pool: pool, kube: client, log: p.Log}
	p.Log.Info("reconciling", "interval", o.interval, "namespace", o.workspaces.Namespace)
	for {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			p.Log.Error("a round failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.interval):
		}
	}
}

// connect goes on until the database answers, as the real runner outlives its failed rounds.
func connect(ctx context.Context, p *process.Process, o options) (*pgxpool.Pool, error) {
	for {
		pool, err := postgres.Open(ctx, o.databaseURL, o.poolSize)
		if err == nil {
			return pool, nil
		}
		p.Log.Error("a round failed", "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(o.interval):
		}
	}
}
