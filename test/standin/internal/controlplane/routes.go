package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"k8s.io/client-go/kubernetes"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

type server struct {
	options
	pool      *pgxpool.Pool
	kube      kubernetes.Interface
	log       *slog.Logger
	grants    *grants
	startedAt time.Time
	streams   atomic.Int64
	requests  atomic.Int64
}

// filesHost is how the host of the public export pages begins: the real service tells them by it alone.
const filesHost = "files."

func (s *server) handler() http.Handler {
	web := s.web()
	files := s.files()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if strings.HasPrefix(r.Host, filesHost) {
			files.ServeHTTP(w, r)
			return
		}
		web.ServeHTTP(w, r)
	})
}

func (s *server) web() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+s.contract.Health, httpserver.Health)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /login", s.page("login.html"))
	mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, _ *http.Request) {
		httpserver.JSON(w, http.StatusOK, map[string]string{"commit": s.version, "builtAt": s.builtAt})
	})
	mux.HandleFunc("POST /api/auth/login", s.login)
	mux.HandleFunc("POST /api/auth/logout", s.logout)
	mux.HandleFunc("/mcp", s.mcp)
	if s.contract.Tokens {
		mux.HandleFunc(s.contract.Services, s.serviceAPI)
		mux.HandleFunc(s.contract.Workspaces(""), s.workspaceAPI)
	} else {
		mux.HandleFunc(s.contract.Workspaces("{id}"), s.trustingWorkspaceAPI)
	}
	mux.Handle("/_cg/", s.gatewayProxy())

	mux.Handle("GET /api/me", s.signedIn(s.me))
	mux.Handle("GET /api/events", s.signedIn(s.events))
	mux.Handle("PUT /api/uploads/{name}", s.signedIn(s.upload))
	mux.Handle("GET /api/oauth/authorize", s.signedIn(s.authorize))
	mux.HandleFunc("POST /api/oauth/token", s.token)
	mux.HandleFunc("GET /api/oauth/userinfo", s.userinfo)
	mux.Handle("POST /api/workspaces", s.signedIn(s.createWorkspace))
	mux.Handle("GET /api/workspaces", s.signedIn(s.listWorkspaces))
	mux.Handle("GET /api/workspaces/{id}", s.signedIn(s.getWorkspace))
	mux.Handle("POST /api/workspaces/{id}/stop", s.signedIn(s.stopWorkspace))
	mux.Handle("POST /api/workspaces/{id}/start", s.signedIn(s.startWorkspace))
	mux.Handle("DELETE /api/workspaces/{id}", s.signedIn(s.deleteWorkspace))
	mux.Handle("GET /api/workspaces/{id}/agent", s.signedIn(s.askAgent))
	mux.Handle("GET /api/workspaces/{id}/agent/terminal/ws", s.signedIn(s.terminal))
	mux.Handle("GET /api/admin/drift", s.signedIn(s.drift))
	mux.Handle("GET /api/admin/dependencies", s.signedIn(s.dependencies))
	mux.Handle("/api/", s.signedIn(func(w http.ResponseWriter, _ *http.Request, _ session.User) {
		httpserver.Error(w, http.StatusNotFound, "no such route")
	}))
	mux.HandleFunc("/", s.root)
	return mux
}

// files is what the other host shows: exported files, and nothing of the API.
func (s *server) files() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", httpserver.Health)
	mux.HandleFunc("/", s.page("files.html"))
	return mux
}

func (s *server) root(w http.ResponseWriter, r *http.Request) {
	if _, err := session.FromRequest(s.jwtSecret, r); err != nil {
		http.Redirect(w, r, "/login", http.StatusFound)
		return
	}
	s.page("index.html")(w, r)
}

func (s *server) page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(s.webDist, name)) }
}

func (s *server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "# TYPE http_requests_total counter\nhttp_requests_total %d\n", s.requests.Load())                          //nolint:errcheck // The client went away.
	fmt.Fprintf(w, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %d\n", s.startedAt.Unix())             //nolint:errcheck // As above.
	fmt.Fprintf(w, "# TYPE database_connections gauge\ndatabase_connections{state=\"open\"} %d\n", s.pool.Stat().TotalConns()) //nolint:errcheck // As above.
}

// mcp checks nothing but a header that names a workspace, as the real service does: it must not be reachable
// from outside.
func (s *server) mcp(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Workspace-ID") == "" {
		httpserver.Error(w, http.StatusBadRequest, "X-Workspace-ID is missing")
		return
	}
	httpserver.JSON(w, http.StatusOK, map[string]any{"tools": []string{}})
}

// gatewayProxy passes /_cg/x on to the channel gateway's /api/x, which checks the session itself.
func (s *server) gatewayProxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Path = "/api/" + strings.TrimPrefix(r.In.URL.Path, "/_cg/")
			r.SetURL(s.gateway)
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			httpserver.Error(w, http.StatusBadGateway, "the channel gateway does not answer: "+err.Error())
		},
	}
}

// bound limits what one request may take of the database or of Kubernetes.
func bound(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), 10*time.Second)
}
