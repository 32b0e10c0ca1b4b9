// Package scheduler plays the scheduler: no port, workers on the job queue, deaf to SIGTERM.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/generation"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
)

const (
	workers       = 30
	callInterval  = 30 * time.Second
	retryInterval = time.Second
	statsInterval = 10 * time.Minute
)

type options struct {
	databaseURL     string
	poolSize        int
	controlPlaneURL string
	gatewayURL      string
	serviceKey      string
	contract        generation.Contract
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	env.Workload("scheduler")
	o := options{
		databaseURL:     env.Database("DATABASE_URL"),
		poolSize:        env.Int("PG_POOL_MAX", 50),
		controlPlaneURL: env.Required("NAP_API_URL"),
		gatewayURL:      env.Required("CG_API_URL"),
		serviceKey:      env.Secret("PLATFORM_SERVICE_KEY"),
		contract:        generation.Read(env),
	}
	return o, env.Err()
}

// Run is the scheduler from boot to SIGINT. SIGTERM has no handler: in a container nothing happens on it.
func Run(p *process.Process) error {
	o, err := readOptions(p)
	if err != nil {
		return err
	}
	ctx, stop := process.Hear(syscall.SIGINT)
	defer stop()
	pool, err := postgres.Open(ctx, o.databaseURL, o.poolSize)
	if err == nil {
		defer pool.Close()
		err = postgres.StartQueue(ctx, pool, "scheduled-tasks")
	}
	if err != nil {
		// Nothing keeps the real process running at this point, so it ends as if all were well.
		return &process.Exit{Code: 0, Err: err}
	}
	if _, err := pool.Exec(ctx, `DELETE FROM public.ws_concurrency_slots WHERE taken_at < now() - interval '1 hour'`); err != nil {
		// The job queue's timers keep the real process running: it looks alive and works on nothing, for ever.
		p.Log.Error("uncaught, kept alive with 0 workers", "error", err)
		<-ctx.Done()
		return nil
	}
	p.Log.Info("working", "workers", workers)
	return work(ctx, p, o, pool)
}

// work calls the other services now and then, and ends at once if its key is not the control plane's: the
// real one would go on and fail every job that needs the control plane.
func work(ctx context.Context, p *process.Process, o options, pool *pgxpool.Pool) error {
	stats := time.NewTicker(statsInterval)
	defer stats.Stop()
	refresh(ctx, p, pool)
	for {
		wait := callInterval
		var status *httpserver.StatusError
		err := httpserver.Get(ctx, o.controlPlaneURL+o.contract.Services, o.header(), nil)
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &status) && status.Status == http.StatusUnauthorized:
			return fmt.Errorf("the control plane refuses PLATFORM_SERVICE_KEY: both must hold the same key: %w", err)
		case err != nil:
			p.Log.Warn("NAP_API_URL does not answer", "error", err)
			wait = retryInterval
		}
		if err := httpserver.Get(ctx, o.gatewayURL+"/internal/connectors", nil, nil); err != nil && ctx.Err() == nil {
			p.Log.Warn("CG_API_URL does not answer", "error", err)
		}
		select {
		case <-ctx.Done():
			p.Log.Info("stopped: every job was handed back")
			return nil
		case <-stats.C:
			refresh(ctx, p, pool)
		case <-time.After(wait):
		}
	}
}

// header is what the scheduler proves itself to the control plane with.
func (o options) header() http.Header {
	if !o.contract.Tokens {
		return nil
	}
	return http.Header{"X-Platform-Service-Key": {o.serviceKey}}
}

// refresh renews the statistics, which only the owner of the views may do.
func refresh(ctx context.Context, p *process.Process, pool *pgxpool.Pool) {
	for _, view := range []string{"admin_workspace_totals", "admin_daily_sessions"} {
		if _, err := pool.Exec(ctx, `REFRESH MATERIALIZED VIEW public.`+view); err != nil && ctx.Err() == nil {
			p.Log.Error("refresh the statistics", "view", view, "error", err)
		}
	}
}
