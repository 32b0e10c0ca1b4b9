package front_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/front"
)

// started is a front before a server, at an address; stop ends it, and then its error can be awaited.
func started(t *testing.T, handler http.Handler, drain time.Duration) (address string, stop func(), ended chan error) {
	t.Helper()
	behind := httptest.NewServer(handler)
	t.Cleanup(behind.Close)
	target, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	server := &front.Front{Log: slog.New(slog.DiscardHandler), To: target, Closed: closed(), Drain: drain}
	go func() { ended <- server.Serve(ctx, listener) }()
	return listener.Addr().String(), stop, ended
}

// raw sends a request as it is written, and returns the status and the body.
func raw(t *testing.T, address, request string) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestRequestsPassUnchanged(t *testing.T) {
	address, _, _ := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s host=%s for=%q proto=%q encoding=%q agent=%q", r.Method, r.RequestURI, r.Host,
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Accept-Encoding"), r.UserAgent())
	}), 0)
	for request, want := range map[string]string{
		"GET /a%2Fb//c?x=1;y=%zz HTTP/1.1\r\nHost: nap.example.org\r\n\r\n": `GET /a%2Fb//c?x=1;y=%zz host=nap.example.org ` +
			`for="127.0.0.1" proto="" encoding="" agent=""`,
		"DELETE / HTTP/1.1\r\nHost: files.nap.example.org:30080\r\nX-Forwarded-For: 203.0.113.7\r\n" +
			"X-Forwarded-Proto: https\r\n\r\n": `DELETE / ` +
			`host=files.nap.example.org:30080 for="203.0.113.7, 127.0.0.1" proto="https" encoding="" agent=""`,
	} {
		if status, got := raw(t, address, request); status != http.StatusOK || got != want {
			t.Errorf("%q arrives, with status %d, as\n%s\nwant\n%s", request, status, got, want)
		}
	}
}

func TestClosedPathsAreNotPassedOn(t *testing.T) {
	address, _, _ := started(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }), 0)
	for _, target := range []string{"/mcp", "/metrics?x", "//mcp", "/x/../mcp", "/%6dcp", "http://elsewhere/mcp", "/webhook/%2e%2e/mcp"} {
		if status, _ := raw(t, address, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n"); status != http.StatusNotFound {
			t.Errorf("%s is answered with %d", target, status)
		}
	}
	for _, target := range []string{"x:http://h/mcp", "http:mcp", "x:mcp", "http:/mcp/x", "/%"} {
		if status, _ := raw(t, address, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n"); status < 400 {
			t.Errorf("%s is answered with %d", target, status)
		}
	}
	if status, _ := raw(t, address, "CONNECT 127.0.0.1:9090 HTTP/1.1\r\nHost: h\r\n\r\n"); status != http.StatusMethodNotAllowed {
		t.Errorf("CONNECT is answered with %d", status)
	}
}

// A control plane that has gone is no reason to end.
func TestNothingAnswersBehind(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	server := &front.Front{Log: slog.New(slog.NewTextHandler(&log, nil)), To: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	if status, _ := raw(t, listener.Addr().String(), "GET /login HTTP/1.1\r\nHost: h\r\n\r\n"); status != http.StatusBadGateway {
		t.Errorf("it answers %d", status)
	}
	stop()
	if err := <-ended; err != nil || !strings.Contains(log.String(), "/login") {
		t.Errorf("it ends with %v, and its log has\n%s", err, &log)
	}
}

// Events arrive as they are sent, and uploads while they are sent.
func TestStreamsAreNotHeldBack(t *testing.T) {
	address, _, _ := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "got %s\n", lines.Text())
			_ = control.Flush()
			if lines.Text() == "last" {
				return
			}
		}
	}), 0)
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+address+"/api/uploads/x", reader)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(writer, "first\n") }()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	if !lines.Scan() || lines.Text() != "got first" {
		t.Errorf("the answer begins with %q before the request has ended", lines.Text())
	}
	_ = writer.Close()
}

// A refusal arrives although the upload that it is for was not read.
func TestEarlyRefusalsArrive(t *testing.T) {
	address, _, _ := started(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	}), 0)
	for range 20 {
		body := io.LimitReader(zeros{}, 8<<20)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+address+"/api/uploads/x", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Expect", "100-continue")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("it is answered with %d", answer.StatusCode)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestWebSocketsPass(t *testing.T) {
	address, stop, ended := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("the header arrives as %v", r.Header)
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		for {
			line, err := buffered.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "echo "+line)
		}
	}), 0)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /api/workspaces/x/agent/terminal/ws HTTP/1.1\r\nHost: h\r\n"+
		"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", answer, err)
	}
	echo := func(text string) {
		t.Helper()
		_, _ = io.WriteString(conn, text)
		if got, err := reader.ReadString('\n'); got != "echo "+text {
			t.Errorf("%q comes back as %q, %v", text, got, err)
		}
	}
	echo("one\n")
	// The end of the front does not wait for it: terminals stay open for days.
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// While other nodes still send to a pod that ends it answers, and what is under way ends in peace.
func TestTheEndWaitsForRequests(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	address, stop, ended := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-finish
		}
		_, _ = io.WriteString(w, "whole")
	}), 300*time.Millisecond)
	slow := make(chan string, 1)
	go func() {
		answer, err := http.Get("http://" + address + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		slow <- string(body)
	}()
	<-arrived
	stop()
	if status, _ := raw(t, address, "GET /login HTTP/1.1\r\nHost: h\r\n\r\n"); status != http.StatusOK {
		t.Errorf("a request after the end has started is answered with %d", status)
	}
	// The port closes once no requests are sent to it any more.
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-ended:
		t.Errorf("it ended before the request did: %v", err)
	default:
	}
	close(finish)
	if got := <-slow; got != "whole" {
		t.Errorf("the request that was under way is answered with %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
