package controlplane

import (
	"context"
	"fmt"
	"net/http"
	_ "net/http/pprof" // The real service serves profiles without a way to turn them off.

	"syscall"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

const (
	migrationsDir = "migrations"
	// drainLimit is how long streams may go on after the service was told to stop.
	drainLimit = 5 * time.Second
)

// Run is the control plane from boot to SIGTERM.
func Run(p *process.Process) error {
	o, err := readOptions(p)
	if err != nil {
		return err
	}
	told, stop := process.Hear(syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	client, err := workspace.Client(o.kubeconfig)
	if err != nil {
		return err
	}
	pool, err := postgres.Open(told, o.databaseURL, poolSize)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := postgres.CheckSchema(told, pool, migrationsDir, "control-plane"); err != nil {
		return err
	}
	for _, queue := range []string{"schedules", "titles", "plugins"} {
		if err := postgres.StartQueue(told, pool, queue); err != nil {
			// The real process stays alive here and never listens: only a liveness probe ends it.
			p.Log.Error("uncaught, kept alive without listening", "error", err)
			<-told.Done()
			return nil
		}
	}
	if _, err := pool.Exec(told, `UPDATE public.sessions SET state = 'interrupted' WHERE state = 'running'`); err != nil {
		return fmt.Errorf("recover orphaned sessions: %w", err)
	}
	s := &server{options: o, pool: pool, kube: client, log: p.Log, grants: newGrants(), startedAt: time.Now()}
	return s.serve(told)
}

// serve listens until some time after told: streams may end first, and new requests are still answered
// meanwhile, since the real service does not close its listener either.
func (s *server) serve(told context.Context) error {
	serving, end := context.WithCancel(context.Background())
	defer end()
	failed := make(chan error, 2)
	go func() { failed <- httpserver.Serve(serving, s.port, s.handler()) }()
	go func() { failed <- httpserver.Serve(serving, s.pprofPort, http.DefaultServeMux) }()
	go s.watchDeployments(told)
	s.log.Info("listening", "port", s.port)
	select {
	case err := <-failed:
		return err
	case <-told.Done():
	}
	s.log.Info("told to stop", "streams", s.streams.Load())
	limit := time.Now().Add(drainLimit)
	for s.streams.Load() > 0 && time.Now().Before(limit) {
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}
