package opensandbox

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/neutree-ai/packaging/test/relay"
	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
)

const (
	// PicturePort is where a browser talks to those who watch it, and IceServers the variable that names its relay.
	PicturePort = 8080
	IceServers  = "NEKO_WEBRTC_ICESERVERS"
)

// Signal is how a browser and one who watches it tell each other where they are reached.
type Signal struct {
	// Address is host:port of an allocation at the relay.
	Address string `json:"address"`
}

// sandbox is one that runs.
type sandbox struct {
	id      string
	asked   Request
	created time.Time

	mutex       sync.Mutex
	expires     time.Time
	listeners   map[int]net.Listener
	allocations []*relay.Allocation
}

func (s *sandbox) describe() Sandbox {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	described := Sandbox{ID: s.id, Metadata: s.asked.Metadata, CreatedAt: s.created, ExpiresAt: s.expires}
	described.Status.State, described.Image.URI = "Running", s.asked.Image.URI
	return described
}

// listen opens one port of the sandbox and returns where that is.
func (s *sandbox) listen(port int) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	listener, open := s.listeners[port]
	if !open {
		var err error
		if listener, err = httpserver.Listen(0); err != nil {
			return 0, err
		}
		s.listeners[port] = listener
		go http.Serve(listener, s.handler(port)) //nolint:errcheck,gosec // It ends with the listener.
	}
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (s *sandbox) handler(port int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		httpserver.JSON(w, http.StatusOK, map[string]any{"sandbox": s.id, "port": port, "host": r.Host, "path": r.URL.Path})
	})
	mux.HandleFunc("GET /ws", httpserver.Echo)
	if port == PicturePort && s.asked.Env[IceServers] != "" {
		mux.HandleFunc("POST /signal", s.signal)
	}
	return mux
}

// signal allocates an address at the relay for whoever wants to watch, and echoes what comes to it.
func (s *sandbox) signal(w http.ResponseWriter, r *http.Request) {
	var peer Signal
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&peer); err != nil {
		httpserver.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	var servers []relay.Server
	if err := json.Unmarshal([]byte(s.asked.Env[IceServers]), &servers); err != nil || len(servers) == 0 {
		httpserver.Error(w, http.StatusInternalServerError, fmt.Sprintf("%s names no relay: %v", IceServers, err))
		return
	}
	allocation, err := servers[0].Allocate(r.Context())
	if err != nil {
		httpserver.Error(w, http.StatusBadGateway, err.Error())
		return
	}
	s.mutex.Lock()
	s.allocations = append(s.allocations, allocation)
	s.mutex.Unlock()
	if err := allocation.Permit(peer.Address); err != nil {
		httpserver.Error(w, http.StatusBadGateway, err.Error())
		return
	}
	go allocation.Echo()
	httpserver.JSON(w, http.StatusOK, Signal{allocation.LocalAddr().String()})
}

func (s *sandbox) close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, listener := range s.listeners {
		_ = listener.Close()
	}
	for _, allocation := range s.allocations {
		_ = allocation.Close()
	}
}
