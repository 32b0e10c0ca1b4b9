//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func resolve(address string) (net.Addr, error) { return net.ResolveUDPAddr("udp4", address) }

// edgePort is the node port of the controller that Ingresses and Gateways are served by.
const edgePort = "30443"

// user is somebody outside the cluster with a browser of their own, who finds all names at the first node: https at the
// controller there, anything else at the port that the URL names. With roots they trust nobody else.
func (e *environment) user(t *testing.T, base string, roots *x509.CertPool) *session {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if port == "443" {
				port = edgePort
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(e.nodeIP, port))
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &session{base: base, client: &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute}}
}

// roots are whom the user trusts.
func (s *session) roots() *x509.CertPool {
	return s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs
}

// overHTTP1 is the same user with an older browser, which WebSockets take too.
func (s *session) overHTTP1() *session {
	transport := s.client.Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = false
	transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	return &session{base: s.base, client: &http.Client{Jar: s.client.Jar, Transport: transport, Timeout: s.client.Timeout}}
}

// at is the same user at another origin.
func (s *session) at(base string) *session { return &session{base: base, client: s.client} }

func (s *session) logIn(t testing.TB, username, password string, status int) {
	t.Helper()
	s.do(t, http.MethodPost, "/api/auth/login", map[string]string{"username": username, "password": password}, status, nil)
}

// signIn signs a user of the control plane in to a service of a module, which sends them there and back.
func (s *session) signIn(t *testing.T, known *session) {
	t.Helper()
	origin, err := url.Parse(known.base)
	if err != nil {
		t.Fatal(err)
	}
	s.client.Jar.SetCookies(origin, known.client.Jar.Cookies(origin))
	answer, err := s.client.Get(s.base + "/api/auth/login")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Request.URL.String() != s.base+"/" {
		t.Fatalf("signing in to %s ends at %s with %d", s.base, answer.Request.URL, answer.StatusCode)
	}
	var me struct{ Username string }
	s.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, &me)
	if me.Username != "admin" {
		t.Errorf("%s takes the user for %q", s.base, me.Username)
	}
}

// makeSandbox makes one with the service's key, which other services have.
func (s *session) makeSandbox(t *testing.T, key string) string {
	t.Helper()
	var made struct{ ID string }
	service := &session{base: s.base, client: &http.Client{Transport: withHeader{s.client.Transport, "X-Service-Key", key}, Timeout: time.Minute}}
	service.do(t, http.MethodPost, "/api/sandboxes", map[string]string{"image": "docker.io/library/node:22-bookworm"}, http.StatusCreated, &made)
	return made.ID
}

// wantPreview asserts that this origin leads to port 8000 of a sandbox, for requests and WebSockets.
func (s *session) wantPreview(t *testing.T, id string) {
	t.Helper()
	var shown struct {
		Sandbox, Host, Path string
		Port                int
	}
	s.do(t, http.MethodGet, "/some/page", nil, http.StatusOK, &shown)
	if shown.Sandbox != id || shown.Port != 8000 || shown.Path != "/some/page" || !strings.HasSuffix(s.base, shown.Host) {
		t.Errorf("%s leads to %+v", s.base, shown)
	}
	s.wantSocket(t, "/ws")
}

// wantSocket asserts that a WebSocket echoes.
func (s *session) wantSocket(t *testing.T, path string) {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), s.base+path, &websocket.DialOptions{HTTPClient: s.overHTTP1().client})
	if err != nil {
		t.Errorf("WebSocket %s%s: %v", s.base, path, err)
		return
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Error(err)
	}
	if _, text, err := conn.Read(t.Context()); err != nil || string(text) != "hello" {
		t.Errorf("WebSocket %s%s echoes %q, %v", s.base, path, text, err)
	}
}

// withHeader sends a header with every request.
type withHeader struct {
	next        http.RoundTripper
	name, value string
}

func (h withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(h.name, h.value)
	return h.next.RoundTrip(r)
}
