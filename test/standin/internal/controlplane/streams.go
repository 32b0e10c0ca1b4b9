package controlplane

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

// events is a stream that goes on until the client or the service ends it: one event a second, or after as many
// seconds of silence as the client asks for.
func (s *server) events(w http.ResponseWriter, r *http.Request, _ session.User) {
	every := 1
	if asked := r.URL.Query().Get("every"); asked != "" {
		var err error
		if every, err = strconv.Atoi(asked); err != nil || every < 1 || every > 3600 {
			httpserver.Error(w, http.StatusBadRequest, "every: give a number of seconds up to 3600")
			return
		}
	}
	s.streams.Add(1)
	defer s.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(time.Duration(every) * time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", n); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// upload takes a file of any size and says how large it was.
func (s *server) upload(w http.ResponseWriter, r *http.Request, _ session.User) {
	size, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		httpserver.Error(w, http.StatusBadRequest, fmt.Sprintf("the upload ends after %d bytes: %v", size, err))
		return
	}
	httpserver.JSON(w, http.StatusCreated, map[string]int64{"size": size})
}

// terminal is a WebSocket that says what it hears.
func (s *server) terminal(w http.ResponseWriter, r *http.Request, _ session.User) {
	s.streams.Add(1)
	defer s.streams.Add(-1)
	httpserver.Echo(w, r)
}
