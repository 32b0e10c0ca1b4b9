// Package front passes requests of users on to the control plane, all but those for paths that only workspaces and
// services may use. It runs in the control plane's own pod and has the port that a NodePort leads to.
package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Times of the connections to users and to the control plane. Nothing limits how long an upload or a stream takes.
const (
	// headerTime is how long a client may take to send the head of a request.
	headerTime = 30 * time.Second
	// idleTime is how long a client's connection is kept without a request.
	idleTime = 2 * time.Minute
	// reuseTime is how long a connection to the control plane is kept: Node.js closes those that are idle for five
	// seconds, and a request must not meet that moment.
	reuseTime = 2 * time.Second
	// reused is how many of these are kept.
	reused = 256
	// answerTime is how long the control plane has to say whether it wants a body.
	answerTime = 10 * time.Second
	// endTime is how long requests that are under way get to end.
	endTime = 30 * time.Second
)

// bufferSize is how much of a body is copied at once.
const bufferSize = 32 << 10

// Front is the server.
type Front struct {
	Log *slog.Logger
	// To is where the control plane answers.
	To *url.URL
	// Closed are the paths that users may not reach.
	Closed Paths
	// Drain is how long it still takes new requests after it was stopped, until every node sends them elsewhere.
	Drain time.Duration
}

// Serve answers on a listener until ctx ends and requests that are under way have ended.
func (f *Front) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: f.Handler(), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime,
		ErrorLog: slog.NewLogLogger(f.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	f.Log.Info("serving public paths", "address", listener.Addr().String(), "to", f.To.String(), "closed", f.Closed)
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-time.After(f.Drain):
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return errors.Join(fmt.Errorf("requests that were under way are cut off after %s: %w", endTime, err), server.Close())
	}
	return nil
}

// Handler answers one request.
func (f *Front) Handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: f.rewrite,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConnsPerHost: reused,
			IdleConnTimeout:     reuseTime,
			// A client that asks before it sends a body hears the control plane's own answer.
			ExpectContinueTimeout: answerTime,
			// What users and the control plane agree on passes unchanged.
			DisableCompression: true,
		},
		// Events of a stream are passed on as they come.
		FlushInterval: -1,
		BufferPool:    &buffers{},
		ErrorLog:      slog.NewLogLogger(f.Log.Handler(), slog.LevelDebug),
		ErrorHandler:  f.failed,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			http.Error(w, "CONNECT is not allowed", http.StatusMethodNotAllowed)
		case r.URL.Opaque != "":
			// As in "GET x:http://host/mcp": Go finds no path in it, and the control plane would.
			http.Error(w, "the address of the request is neither a path nor a URL", http.StatusBadRequest)
		case f.Closed.Contain(r.URL.EscapedPath()):
			http.Error(w, "not found", http.StatusNotFound)
		default:
			// The control plane may answer before it has read all of an upload, as it may without this server.
			_ = http.NewResponseController(w).EnableFullDuplex()
			proxy.ServeHTTP(w, r)
		}
	})
}

// forwarded are the headers in which a proxy before this one says where a request comes from.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// rewrite makes of a user's request the one to the control plane: the same, with the user's address.
func (f *Front) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.Opaque = f.To.Scheme, f.To.Host, ""
	r.Out.Host = r.In.Host
	// The proxy would leave out parameters that Go cannot parse.
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	for _, name := range forwarded {
		if values := r.In.Header.Values(name); len(values) > 0 {
			r.Out.Header[name] = values
		}
	}
	if host, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		addresses := slices.Concat(r.In.Header.Values("X-Forwarded-For"), []string{host})
		r.Out.Header.Set("X-Forwarded-For", strings.Join(addresses, ", "))
	}
}

// failed answers for a control plane that does not. A user who has gone needs no answer.
func (f *Front) failed(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, context.Canceled) {
		f.Log.Warn("the control plane does not answer", "path", r.URL.Path, "cause", err.Error())
	}
	http.Error(w, "the control plane does not answer", http.StatusBadGateway)
}

// buffers are used again: with streams by the hundred they would be most of the memory.
type buffers struct{ pool sync.Pool }

// Get returns a buffer.
func (b *buffers) Get() []byte {
	if buffer, is := b.pool.Get().(*[]byte); is {
		return *buffer
	}
	return make([]byte, bufferSize)
}

// Put takes one back.
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
