// Package opensandbox plays the server that runs sandboxes. A sandbox of its is no container: it is a few listeners of
// the server's own that answer for what would run in one.
package opensandbox

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

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
	Timeout  int               `json:"timeout"`
	Env      map[string]string `json:"env"`
	Metadata map[string]string `json:"metadata"`
}

// Sandbox is what the server says of one.
type Sandbox struct {
	ID     string `json:"id"`
	Status struct {
		State string `json:"state"`
	} `json:"status"`
	Image struct {
		URI string `json:"uri"`
	} `json:"image"`
	Metadata  map[string]string `json:"metadata"`
	CreatedAt time.Time         `json:"createdAt"`
	ExpiresAt time.Time         `json:"expiresAt"`
}

// List is one page of sandboxes, the oldest first. Pages count from 1.
type List struct {
	Items      []Sandbox `json:"items"`
	Pagination struct {
		Page        int  `json:"page"`
		PageSize    int  `json:"pageSize"`
		TotalItems  int  `json:"totalItems"`
		TotalPages  int  `json:"totalPages"`
		HasNextPage bool `json:"hasNextPage"`
	} `json:"pagination"`
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
	mux.HandleFunc("GET /v1/sandboxes", s.list)
	mux.HandleFunc("POST /v1/sandboxes/{id}/renew-expiration", s.with(s.renew))
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
	one := &sandbox{id: session.NewID(), asked: asked, created: time.Now(), listeners: map[int]net.Listener{}}
	one.expires = one.created.Add(time.Duration(asked.Timeout) * time.Second)
	s.mutex.Lock()
	s.sandboxes[one.id] = one
	s.mutex.Unlock()
	httpserver.JSON(w, http.StatusAccepted, one.describe())
}

// list answers page, pageSize and state, which may be repeated. A query that names more is one that nothing here answers.
func (s *server) list(w http.ResponseWriter, r *http.Request) {
	var answer List
	answer.Pagination.Page, answer.Pagination.PageSize = 1, 20
	query := r.URL.Query()
	for name, into := range map[string]*int{"page": &answer.Pagination.Page, "pageSize": &answer.Pagination.PageSize} {
		if !query.Has(name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(name))
		if err != nil || n < 1 || n > 200 {
			httpserver.Error(w, http.StatusBadRequest, name+" is not from 1 to 200")
			return
		}
		*into = n
	}
	s.mutex.Lock()
	all := slices.SortedFunc(maps.Values(s.sandboxes), func(a, b *sandbox) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id))
	})
	s.mutex.Unlock()
	answer.Items = []Sandbox{}
	for _, one := range all {
		described := one.describe()
		if states := query["state"]; len(states) == 0 || slices.Contains(states, described.Status.State) {
			answer.Items = append(answer.Items, described)
		}
	}
	page := &answer.Pagination
	page.TotalItems = len(answer.Items)
	page.TotalPages = (page.TotalItems + page.PageSize - 1) / page.PageSize
	page.HasNextPage = page.Page < page.TotalPages
	start := min((page.Page-1)*page.PageSize, page.TotalItems)
	answer.Items = answer.Items[start:min(start+page.PageSize, page.TotalItems)]
	httpserver.JSON(w, http.StatusOK, answer)
}

func (s *server) renew(w http.ResponseWriter, r *http.Request, one *sandbox) {
	var asked struct {
		ExpiresAt time.Time `json:"expiresAt"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked)
	if err != nil || asked.ExpiresAt.Before(time.Now()) {
		httpserver.Error(w, http.StatusBadRequest, "expiresAt is no time that is to come")
		return
	}
	one.mutex.Lock()
	one.expires = asked.ExpiresAt
	one.mutex.Unlock()
	httpserver.JSON(w, http.StatusOK, asked)
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
