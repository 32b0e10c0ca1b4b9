// Package browser plays the service that makes browsers, each in a sandbox, and leads users to their picture.
package browser

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/neutree-ai/packaging/test/relay"
	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/opensandbox"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/sandbox"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
	"github.com/neutree-ai/packaging/test/standin/internal/signin"
	"github.com/neutree-ai/packaging/test/standin/internal/trust"
)

const (
	poolSize = 10
	// credentialLifetime is how long a browser can be watched.
	credentialLifetime = 24 * time.Hour
)

type options struct {
	port                   int
	databaseURL            string
	jwtSecret              string
	webURL, publicURL      string
	sandboxURL, sandboxKey string
	image                  string
	turnHost, turnSecret   string
	turnPort               int
	client                 *http.Client
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	env.Workload("browser")
	o := options{
		port:        env.Port("PORT", 3005),
		databaseURL: env.Database("DATABASE_URL"),
		jwtSecret:   env.Secret("JWT_SECRET"),
		webURL:      env.Required("NAP_OAUTH_URL"),
		publicURL:   env.Required("BROWSER_SERVICE_URL"),
		sandboxURL:  env.Required("SANDBOX_SERVICE_URL"),
		sandboxKey:  env.Secret("SANDBOX_SERVICE_KEY"),
		image:       env.Required("BROWSER_IMAGE"),
		turnHost:    env.Required("TURN_HOST"),
		turnPort:    env.Port("TURN_PORT", 3478),
		turnSecret:  env.Secret("TURN_AUTH_SECRET"),
		client:      trust.Client(trust.Pool(env)),
	}
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
	if err := checkSchema(ctx, o.databaseURL); err != nil {
		return err
	}
	s := &server{
		options: o, browsers: map[string]string{},
		signin: signin.New("browser-service", o.jwtSecret, o.webURL, o.publicURL, o.client),
	}
	p.Log.Info("listening", "port", o.port)
	return httpserver.Serve(ctx, o.port, s.handler())
}

// checkSchema is done here always. The real service looks at the database only where it keeps browsers ready.
func checkSchema(ctx context.Context, url string) error {
	pool, err := postgres.Open(ctx, url, poolSize)
	if err != nil {
		return err
	}
	defer pool.Close()
	return postgres.CheckSchema(ctx, pool, "migrations", "browser")
}

type server struct {
	options
	signin *signin.Client

	mutex sync.Mutex
	// browsers are those that were made, with their owners.
	browsers map[string]string
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", httpserver.Health)
	s.signin.Register(mux)
	mux.HandleFunc("POST /api/browsers", s.signedIn(s.create))
	mux.HandleFunc("POST /api/browsers/{id}/signal", s.signedIn(s.signal))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		httpserver.JSON(w, http.StatusOK, map[string]string{"service": "browser"})
	})
	return mux
}

func (s *server) signedIn(next func(http.ResponseWriter, *http.Request, session.User)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, err := s.signin.User(r)
		if err != nil {
			httpserver.Error(w, http.StatusUnauthorized, "sign in first")
			return
		}
		next(w, r, user)
	}
}

// create makes a browser and tells the user by which relay it is watched.
func (s *server) create(w http.ResponseWriter, r *http.Request, user session.User) {
	relay, err := s.relay()
	if err != nil {
		httpserver.Error(w, http.StatusInternalServerError, err.Error())
		return
	}
	servers, err := json.Marshal(relay)
	if err != nil {
		httpserver.Error(w, http.StatusInternalServerError, err.Error())
		return
	}
	asked := sandbox.Request{Image: s.image, Env: map[string]string{"ENABLE_WEBRTC": "true", opensandbox.IceServers: string(servers)}}
	var made opensandbox.Sandbox
	if err := httpserver.Call(r.Context(), http.MethodPost, s.sandboxURL+"/api/sandboxes", s.key(), asked, &made); err != nil {
		httpserver.Error(w, http.StatusBadGateway, "the sandbox service: "+err.Error())
		return
	}
	s.mutex.Lock()
	s.browsers[made.ID] = user.Username
	s.mutex.Unlock()
	httpserver.JSON(w, http.StatusCreated, map[string]any{"id": made.ID, "iceServers": relay})
}

// relay is how the browser and those who watch it reach the relay.
func (s *server) relay() ([]relay.Server, error) {
	server, err := relay.NewServer(s.turnHost, s.turnPort, s.turnSecret, "sandbox", credentialLifetime)
	return []relay.Server{server}, err
}

func (s *server) key() http.Header { return http.Header{sandbox.KeyHeader: {s.sandboxKey}} }

// signal passes on what browser and watcher tell each other before they talk by the relay.
func (s *server) signal(w http.ResponseWriter, r *http.Request, user session.User) {
	id := r.PathValue("id")
	s.mutex.Lock()
	owner := s.browsers[id]
	s.mutex.Unlock()
	if owner != user.Username {
		httpserver.Error(w, http.StatusNotFound, "no such browser")
		return
	}
	var watcher, picture opensandbox.Signal
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&watcher); err != nil {
		httpserver.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	var found opensandbox.Endpoint
	err := httpserver.Get(r.Context(), s.sandboxURL+"/api/sandboxes/"+id+"/endpoints/8080", s.key(), &found)
	if err == nil {
		err = httpserver.Call(r.Context(), http.MethodPost, "http://"+found.Endpoint+"/signal", nil, watcher, &picture)
	}
	if err != nil {
		httpserver.Error(w, http.StatusBadGateway, "the browser does not answer: "+err.Error())
		return
	}
	httpserver.JSON(w, http.StatusOK, picture)
}
