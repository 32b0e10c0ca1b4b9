// Package gateway plays the channel gateway: it trusts the control plane's sessions and keeps its own schema.
package gateway

import (
	"context"
	"net/http"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

const poolSize = 10

type options struct {
	port            int
	databaseURL     string
	jwtSecret       string
	controlPlaneURL string
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	env.Workload("cg")
	o := options{
		port:            env.Port("PORT", 3002),
		databaseURL:     env.Database("DATABASE_URL"),
		jwtSecret:       env.Secret("JWT_SECRET"),
		controlPlaneURL: env.Required("NAP_API_URL"),
	}
	return o, env.Err()
}

// Run is the channel gateway from boot to SIGTERM.
func Run(p *process.Process) error {
	o, err := readOptions(p)
	if err != nil {
		return err
	}
	ctx, stop := process.Hear(syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	pool, err := open(ctx, o.databaseURL)
	if err != nil {
		// The real process catches the error, and then ends in good order since nothing keeps it running.
		p.Log.Error("uncaught, kept alive", "error", err)
		return &process.Exit{Code: 0, Err: err}
	}
	defer pool.Close()
	go askControlPlane(ctx, p, o.controlPlaneURL)
	p.Log.Info("listening", "port", o.port)
	return httpserver.Serve(ctx, o.port, handler(o, pool))
}

func open(ctx context.Context, url string) (*pgxpool.Pool, error) {
	pool, err := postgres.Open(ctx, url, poolSize)
	if err != nil {
		return nil, err
	}
	if err := postgres.CheckSchema(ctx, pool, "migrations", "gateway"); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

func handler(o options, pool *pgxpool.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", httpserver.Health)
	mux.HandleFunc("GET /internal/connectors", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		var n int
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM channel.connectors`).Scan(&n); err != nil {
			httpserver.Error(w, http.StatusInternalServerError, err.Error())
			return
		}
		httpserver.JSON(w, http.StatusOK, map[string]int{"connectors": n})
	})
	mux.HandleFunc("GET /api/me", func(w http.ResponseWriter, r *http.Request) {
		user, err := session.FromRequest(o.jwtSecret, r)
		if err != nil {
			httpserver.Error(w, http.StatusUnauthorized, "JWT_SECRET differs from the control plane's, or nobody is signed in: "+err.Error())
			return
		}
		httpserver.JSON(w, http.StatusOK, user)
	})
	mux.HandleFunc("POST /webhook/{connector}/{path...}", func(w http.ResponseWriter, _ *http.Request) {
		httpserver.Error(w, http.StatusUnauthorized, "the connector does not exist or its secret is wrong")
	})
	return mux
}

// askControlPlane logs whether the control plane can be reached, as the real connectors would notice.
func askControlPlane(ctx context.Context, p *process.Process, url string) {
	for ctx.Err() == nil {
		if err := httpserver.Get(ctx, url+"/api/version", nil, nil); err != nil && ctx.Err() == nil {
			p.Log.Warn("NAP_API_URL does not answer", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Second):
		}
	}
}
