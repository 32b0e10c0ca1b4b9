// Package skills plays the service that serves the content of skills.
package skills

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/device"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
)

const poolSize = 8

type options struct {
	port, filesPort int
	databaseURL     string
	cacheDir        string
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	env.Workload("skills")
	o := options{
		port:        env.Port("PORT", 3008),
		filesPort:   env.Port("DUFS_PORT", 5000),
		databaseURL: env.Database("DATABASE_URL"),
		cacheDir:    env.Optional("CACHE_DIR", "/var/cache/skills-content"),
	}
	high, low := env.Int("CACHE_HIGH_WATER_BYTES", 8<<30), env.Int("CACHE_LOW_WATER_BYTES", 6<<30)
	env.Require("CACHE_LOW_WATER_BYTES", func() error {
		if low >= high {
			return fmt.Errorf("is %d and not below CACHE_HIGH_WATER_BYTES %d", low, high)
		}
		return nil
	})
	return o, env.Err()
}

// Run is the service from boot to SIGTERM.
func Run(p *process.Process) error {
	o, err := readOptions(p)
	if err != nil {
		return err
	}
	ctx, stop := process.Hear(syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := device.CheckWritable(o.cacheDir); err != nil {
		return fmt.Errorf("CACHE_DIR: %w", err)
	}
	pool, err := postgres.Open(ctx, o.databaseURL, poolSize)
	if err != nil {
		return err
	}
	defer pool.Close()
	// The real service starts a file server of its own on the loopback interface.
	files, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.filesPort)))
	if err != nil {
		return fmt.Errorf("listen on DUFS_PORT: %w", err)
	}
	defer files.Close() //nolint:errcheck // The process ends with it.
	p.Log.Info("listening", "port", o.port)
	return httpserver.Serve(ctx, o.port, handler(pool))
}

func handler(pool *pgxpool.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", httpserver.Health)
	mux.HandleFunc("GET /api/skills", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		var n int
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM public.skill_sources`).Scan(&n); err != nil {
			httpserver.Error(w, http.StatusInternalServerError, err.Error())
			return
		}
		httpserver.JSON(w, http.StatusOK, map[string]int{"skills": n})
	})
	return mux
}
