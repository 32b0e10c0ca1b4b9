// Package podexectest plays the part of the API server that runs commands in containers, for tests.
package podexectest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Command plays a program: it returns its exit code.
type Command func(command []string, stdin io.Reader, stdout, stderr io.Writer) int

// The streams of protocol v5.channel.k8s.io: the first byte of a message says which.
const (
	stdinStream, stdoutStream, stderrStream, errorStream = 0, 1, 2, 3
	closeSignal                                          = 255
	protocol                                             = "v5.channel.k8s.io"
)

// Serve puts a server before the API server at api, which runs commands itself and passes the rest on. It returns its
// address.
func Serve(t *testing.T, api string, run Command) string {
	t.Helper()
	target, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/exec") {
			proxy.ServeHTTP(w, r)
			return
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol}})
		if err != nil {
			return
		}
		defer conn.CloseNow() //nolint:errcheck // A test's connection.
		conn.SetReadLimit(-1)
		serve(r.Context(), conn, r.URL.Query()["command"], run)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// serve runs one command.
func serve(ctx context.Context, conn *websocket.Conn, command []string, run Command) {
	reader, writer := io.Pipe()
	go func() {
		for {
			_, message, err := conn.Read(ctx)
			switch {
			case err != nil:
				_ = writer.CloseWithError(io.ErrUnexpectedEOF)
				return
			case len(message) == 2 && message[0] == closeSignal && message[1] == stdinStream:
				_ = writer.Close()
			case len(message) > 0 && message[0] == stdinStream:
				_, _ = writer.Write(message[1:])
			}
		}
	}()
	code := run(command, reader, stream{ctx, conn, stdoutStream}, stream{ctx, conn, stderrStream})
	_ = reader.Close()
	status := metav1.Status{Status: metav1.StatusSuccess}
	if code != 0 {
		status = metav1.Status{Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Message: "command terminated",
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: strconv.Itoa(code)}}}}
	}
	raw, err := json.Marshal(status)
	if err == nil {
		_, err = stream{ctx, conn, errorStream}.Write(raw)
	}
	if err == nil {
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}
}

// stream writes to one of the streams.
type stream struct {
	ctx  context.Context
	conn *websocket.Conn
	id   byte
}

func (s stream) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		piece := p[sent:min(len(p), sent+16<<10)]
		if err := s.conn.Write(s.ctx, websocket.MessageBinary, append([]byte{s.id}, piece...)); err != nil {
			return sent, err
		}
		sent += len(piece)
	}
	return len(p), nil
}
