// Package opensandbox plays the server that runs sandboxes. A sandbox of its is no container: it is a few listeners of
// the server's own that answer for what would run in one.
package opensandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"

	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

// Request is what a sandbox is asked for by.
type Request struct {
	Image struct {
		URI string `json:"uri"`
	} `json:"image"`
	// Timeout is in seconds.
	Timeout int               `json:"timeout"`
	Env     map[string]string `json:"env"`
}

// Sandbox is what the server tells of one.
type Sandbox struct {
	ID     string `json:"id"`
	Status struct {
		State string `json:"state"`
	} `json:"status"`
}

// Endpoint is where a port of a sandbox is reached, as host:port.
type Endpoint struct {
	Endpoint string `json:"endpoint"`
}

// Run is the server from boot to SIGTERM.
func Run(p *process.Process) error {
	env := config.New(p.Lookup)
	port := env.Port("PORT", 8080)
	address := env.Required("POD_IP")
	env.Require("OPENSANDBOX_INSECURE_SERVER", func() error {
		if env.Optional("OPENSANDBOX_INSECURE_SERVER", "") != "YES" {
			return errors.New(`is not "YES": the sandbox service never sends a key`)
		}
		return nil
	})
	if err := env.Err(); err != nil {
		return err
	}
	ctx, stop := process.Hear(syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := &server{address: address, sandboxes: map[string]*sandbox{}}
	defer s.close()
	p.Log.Info("listening", "port", port)
	return httpserver.Serve(ctx, port, s.handler())
}

type server struct {
	address string

	mutex     sync.Mutex
	sandboxes map[string]*sandbox
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", httpserver.Health)
	mux.HandleFunc("POST /v1/sandboxes", s.create)
	mux.HandleFunc("GET /v1/sandboxes/{id}", s.with(func(w http.ResponseWriter, _ *http.Request, one *sandbox) {
		httpserver.JSON(w, http.StatusOK, one.describe())
	}))
	mux.HandleFunc("GET /v1/sandboxes/{id}/endpoints/{port}", s.with(s.endpoint))
	mux.HandleFunc("DELETE /v1/sandboxes/{id}", s.with(func(w http.ResponseWriter, _ *http.Request, one *sandbox) {
		s.mutex.Lock()
		delete(s.sandboxes, one.id)
		s.mutex.Unlock()
		one.close()
		w.WriteHeader(http.StatusNoContent)
	}))
	return mux
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	var asked Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked); err != nil {
		httpserver.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := contract.ImageRef.Check(asked.Image.URI); err != nil {
		httpserver.Error(w, http.StatusBadRequest, "image.uri "+err.Error())
		return
	}
	if asked.Timeout < 60 || asked.Timeout > 86400 {
		httpserver.Error(w, http.StatusBadRequest, fmt.Sprintf("timeout %d is not from 60 to 86400 seconds", asked.Timeout))
		return
	}
	one := &sandbox{id: session.NewID(), env: asked.Env, listeners: map[int]net.Listener{}}
	s.mutex.Lock()
	s.sandboxes[one.id] = one
	s.mutex.Unlock()
	httpserver.JSON(w, http.StatusAccepted, one.describe())
}

func (s *server) endpoint(w http.ResponseWriter, r *http.Request, one *sandbox) {
	port, err := strconv.Atoi(r.PathValue("port"))
	if err != nil || port < 1 || port > 65535 {
		httpserver.Error(w, http.StatusBadRequest, r.PathValue("port")+" is no port")
		return
	}
	listens, err := one.listen(port)
	if err != nil {
		httpserver.Error(w, http.StatusInternalServerError, err.Error())
		return
	}
	httpserver.JSON(w, http.StatusOK, Endpoint{net.JoinHostPort(s.address, strconv.Itoa(listens))})
}

// with finds the sandbox that a request names.
func (s *server) with(next func(http.ResponseWriter, *http.Request, *sandbox)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		one := s.sandboxes[r.PathValue("id")]
		s.mutex.Unlock()
		if one == nil {
			httpserver.Error(w, http.StatusNotFound, "no such sandbox")
			return
		}
		next(w, r, one)
	}
}

func (s *server) close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, one := range s.sandboxes {
		one.close()
	}
}
