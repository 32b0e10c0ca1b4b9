// Package sandbox plays the service that makes sandboxes and leads users to what runs in them.
package sandbox

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/opensandbox"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/signin"
	"github.com/neutree-ai/packaging/test/standin/internal/trust"
)

const poolSize = 10

// KeyHeader carries the key of services that make sandboxes.
const KeyHeader = "X-Service-Key"

type options struct {
	port                              int
	databaseURL                       string
	jwtSecret, serviceKey             string
	webURL, publicURL, domain, server string
	client                            *http.Client
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	env.Workload("sandbox")
	o := options{
		port:        env.Port("PORT", 3006),
		databaseURL: env.Database("DATABASE_URL"),
		jwtSecret:   env.Secret("JWT_SECRET"),
		serviceKey:  env.Secret("SERVICE_KEY"),
		webURL:      env.Required("NAP_OAUTH_URL"),
		publicURL:   env.Required("SANDBOX_SERVICE_URL"),
		domain:      env.Required("SANDBOX_DOMAIN"),
		server:      env.Required("OPENSANDBOX_URL"),
		client:      trust.Client(trust.Pool(env)),
	}
	env.Require("SANDBOX_DOMAIN", func() error {
		if u, err := url.Parse(o.publicURL); err != nil || u.Hostname() != o.domain {
			return fmt.Errorf("%q is not the host of SANDBOX_SERVICE_URL %s", o.domain, o.publicURL)
		}
		return nil
	})
	return o, env.Err()
}

// Run is the service until it is killed: it does not listen to SIGTERM.
func Run(p *process.Process) error {
	o, err := readOptions(p)
	if err != nil {
		return err
	}
	ctx, stop := process.Hear()
	defer stop()
	pool, err := postgres.Open(ctx, o.databaseURL, poolSize)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := postgres.CheckSchema(ctx, pool, "migrations", "sandbox"); err != nil {
		return err
	}
	if err := httpserver.Get(ctx, o.server+"/health", nil, nil); err != nil {
		p.Log.Warn("OPENSANDBOX_URL does not answer", "error", err)
	}
	p.Log.Info("listening", "port", o.port)
	return httpserver.Serve(ctx, o.port, newServer(o, pool, p.Log).handler())
}

type server struct {
	options
	pool   *pgxpool.Pool
	log    *slog.Logger
	signin *signin.Client
	// preview matches the host of what runs in a sandbox.
	preview *regexp.Regexp
}

func newServer(o options, pool *pgxpool.Pool, log *slog.Logger) *server {
	return &server{
		options: o, pool: pool, log: log,
		signin:  signin.New("sandbox-service", o.jwtSecret, o.webURL, o.publicURL, o.client),
		preview: regexp.MustCompile(`^([a-z0-9]+)-([0-9]+)\.` + regexp.QuoteMeta(o.domain) + `(?::[0-9]+)?$`),
	}
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", httpserver.Health)
	s.signin.Register(mux)
	mux.HandleFunc("POST /api/sandboxes", s.admit(s.create))
	mux.HandleFunc("GET /api/sandboxes", s.admit(s.list))
	mux.HandleFunc("GET /api/sandboxes/{id}/endpoints/{port}", s.admit(s.endpoint))
	mux.HandleFunc("DELETE /api/sandboxes/{id}", s.admit(s.remove))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		httpserver.JSON(w, http.StatusOK, map[string]string{"service": "sandbox"})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if named := s.preview.FindStringSubmatch(r.Host); named != nil {
			s.show(w, r, named[1], named[2])
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// admit lets services with the key in, and users who signed in. It tells who they are.
func (s *server) admit(next func(w http.ResponseWriter, r *http.Request, who string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get(KeyHeader); key != "" {
			if subtle.ConstantTimeCompare([]byte(key), []byte(s.serviceKey)) != 1 {
				httpserver.Error(w, http.StatusUnauthorized, "SERVICE_KEY is another one")
				return
			}
			next(w, r, "service")
			return
		}
		user, err := s.signin.User(r)
		if err != nil {
			httpserver.Error(w, http.StatusUnauthorized, "sign in first")
			return
		}
		next(w, r, user.Username)
	}
}

// Request is what a sandbox is asked for by.
type Request struct {
	Image   string            `json:"image"`
	Timeout int               `json:"timeout"`
	Env     map[string]string `json:"env"`
}

func (s *server) create(w http.ResponseWriter, r *http.Request, who string) {
	var given Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&given); err != nil {
		httpserver.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	if given.Timeout == 0 {
		given.Timeout = 3600
	}
	asked := opensandbox.Request{Timeout: given.Timeout, Env: given.Env}
	asked.Image.URI = given.Image
	var made opensandbox.Sandbox
	if err := httpserver.Call(r.Context(), http.MethodPost, s.server+"/v1/sandboxes", nil, asked, &made); err != nil {
		httpserver.Error(w, http.StatusBadGateway, "OpenSandbox: "+err.Error())
		return
	}
	if _, err := s.pool.Exec(r.Context(), `INSERT INTO sandbox.sandboxes (id, owner, image) VALUES ($1, $2, $3)`, made.ID, who, given.Image); err != nil {
		s.fail(w, err)
		return
	}
	httpserver.JSON(w, http.StatusCreated, made)
}

func (s *server) list(w http.ResponseWriter, r *http.Request, who string) {
	// An error of Query comes again from CollectRows.
	rows, _ := s.pool.Query(r.Context(), `SELECT id FROM sandbox.sandboxes WHERE owner = $1 ORDER BY created_at`, who)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.fail(w, err)
		return
	}
	// Those that have ended are in the database still.
	running := map[string]bool{}
	for page, more := 1, true; more; page++ {
		var found opensandbox.List
		err := httpserver.Get(r.Context(), fmt.Sprintf("%s/v1/sandboxes?page=%d&pageSize=100", s.server, page), nil, &found)
		if err != nil {
			httpserver.Error(w, http.StatusBadGateway, "OpenSandbox: "+err.Error())
			return
		}
		for _, one := range found.Items {
			running[one.ID] = true
		}
		more = found.Pagination.HasNextPage
	}
	httpserver.JSON(w, http.StatusOK, slices.DeleteFunc(ids, func(id string) bool { return !running[id] }))
}

func (s *server) endpoint(w http.ResponseWriter, r *http.Request, who string) {
	if !s.owns(w, r, who) {
		return
	}
	found, err := s.find(r.Context(), r.PathValue("id"), r.PathValue("port"))
	if err != nil {
		httpserver.Error(w, http.StatusBadGateway, "OpenSandbox: "+err.Error())
		return
	}
	httpserver.JSON(w, http.StatusOK, found)
}

func (s *server) remove(w http.ResponseWriter, r *http.Request, who string) {
	if !s.owns(w, r, who) {
		return
	}
	id := r.PathValue("id")
	if err := httpserver.Call(r.Context(), http.MethodDelete, s.server+"/v1/sandboxes/"+id, nil, nil, nil); err != nil {
		httpserver.Error(w, http.StatusBadGateway, "OpenSandbox: "+err.Error())
		return
	}
	if _, err := s.pool.Exec(r.Context(), `DELETE FROM sandbox.sandboxes WHERE id = $1`, id); err != nil {
		s.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// owns answers for those who name a sandbox that is not theirs.
func (s *server) owns(w http.ResponseWriter, r *http.Request, who string) bool {
	var id string
	err := s.pool.QueryRow(r.Context(), `SELECT id FROM sandbox.sandboxes WHERE id = $1 AND owner = $2`, r.PathValue("id"), who).Scan(&id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		httpserver.Error(w, http.StatusNotFound, "no such sandbox")
	case err != nil:
		s.fail(w, err)
	}
	return err == nil
}

func (s *server) find(ctx context.Context, id, port string) (opensandbox.Endpoint, error) {
	var found opensandbox.Endpoint
	return found, httpserver.Get(ctx, s.server+"/v1/sandboxes/"+url.PathEscape(id)+"/endpoints/"+url.PathEscape(port), nil, &found)
}

// fail answers 500 with the cause, since whoever reads it here is looking for a mistake in a chart.
func (s *server) fail(w http.ResponseWriter, err error) {
	s.log.Error("database", "error", err)
	httpserver.Error(w, http.StatusInternalServerError, err.Error())
}
