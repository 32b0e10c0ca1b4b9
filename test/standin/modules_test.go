package main

import (
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func sandboxEnv(database string) map[string]string {
	return map[string]string{
		"DATABASE_URL": database, "JWT_SECRET": "sandbox-jwt-of-the-test", "SERVICE_KEY": "sandbox-key-of-the-test",
		"NAP_URL": "http://nap-cp.nap.svc:3000", "NAP_OAUTH_URL": "http://nap.example.org", "SANDBOX_SERVICE_URL": "http://sandbox.example.org",
		"SANDBOX_DOMAIN": "sandbox.example.org", "OPENSANDBOX_URL": "http://127.0.0.1:1",
	}
}

func browserEnv(database string) map[string]string {
	return map[string]string{
		"DATABASE_URL": database, "JWT_SECRET": "browser-jwt-of-the-test", "TURN_AUTH_SECRET": "turn-secret-of-the-test",
		"SANDBOX_SERVICE_KEY": "sandbox-key-of-the-test", "SANDBOX_SERVICE_URL": "http://nap-sandbox.nap.svc:3006",
		"NAP_INTERNAL_URL": "http://nap-cp.nap.svc:3000", "NAP_OAUTH_URL": "http://nap.example.org",
		"BROWSER_SERVICE_URL": "http://browsers.example.org", "BROWSER_IMAGE": "ghcr.io/neutree-ai/agent-platform/chromium-headful:v0.1.0",
		"TURN_HOST": "192.0.2.1", "TURN_PORT": "3478",
	}
}

// modules are the services of both modules beside a control plane, all of them listening.
type modules struct {
	served
	sandbox, browser served
	domain           string
}

func serveModules(t *testing.T) modules {
	t.Helper()
	s := serve(t, "jwt-secret-of-the-test")
	m := modules{served: s, domain: "localhost"}
	server, sandboxPort, browserPort := freePort(t), freePort(t), freePort(t)
	m.sandbox = served{base: "http://localhost:" + sandboxPort, client: s.client}
	m.browser = served{base: "http://localhost:" + browserPort, client: s.client}

	seeds := start(t, workdir(t, "controlPlane", nil), map[string]string{"DATABASE_URL": s.database,
		"SANDBOX_OAUTH_REDIRECT_URI": m.sandbox.base + "/api/auth/callback", "BROWSER_OAUTH_REDIRECT_URI": m.browser.base + "/api/auth/callback",
	}, "node", "dist/seed-oauth-clients.js")
	if code := seeds.exits(); code != 0 {
		t.Fatalf("the seeds end with %d:\n%s", code, seeds.output)
	}
	start(t, t.TempDir(), map[string]string{"PORT": server, "POD_IP": "127.0.0.1", "OPENSANDBOX_INSECURE_SERVER": "YES"}, "opensandbox").says("listening")
	start(t, workdir(t, "sandboxService", nil), with(sandboxEnv(s.database), "PORT", sandboxPort, "OPENSANDBOX_URL", "http://127.0.0.1:"+server,
		"NAP_OAUTH_URL", s.base, "SANDBOX_SERVICE_URL", m.sandbox.base, "SANDBOX_DOMAIN", m.domain), "node", "dist/index.js").says("listening")
	start(t, workdir(t, "browserService", nil), with(browserEnv(s.database), "PORT", browserPort, "NAP_OAUTH_URL", s.base,
		"BROWSER_SERVICE_URL", m.browser.base, "SANDBOX_SERVICE_URL", m.sandbox.base), "node", "dist/index.js").says("listening")
	return m
}

func TestModules(t *testing.T) {
	m := serveModules(t)
	m.expect(t, 401, http.MethodGet, "/api/oauth/authorize?client_id=sandbox-service", "", nil)
	m.expect(t, 200, http.MethodPost, "/api/auth/login", `{"username":"admin","password":"s3cret-enough"}`, nil)
	for query, want := range map[string]string{
		"client_id=nobody": "invalid_client",
		"client_id=sandbox-service&redirect_uri=http%3A%2F%2Felsewhere": "invalid_redirect_uri",
	} {
		if text := m.expect(t, 400, http.MethodGet, "/api/oauth/authorize?"+query, "", nil); !strings.Contains(text, want) {
			t.Errorf("%s: %s, want %s", query, text, want)
		}
	}
	m.expect(t, 401, http.MethodGet, "/api/oauth/userinfo", "", http.Header{"Authorization": {"Bearer guess"}})

	asked := `{"image":"docker.io/library/node:22-bookworm"}`
	key := http.Header{"X-Service-Key": {"sandbox-key-of-the-test"}}
	m.sandbox.expect(t, 401, http.MethodPost, "/api/sandboxes", asked, nil)
	m.sandbox.expect(t, 401, http.MethodPost, "/api/sandboxes", asked, http.Header{"X-Service-Key": {"another"}})
	m.sandbox.expect(t, 502, http.MethodPost, "/api/sandboxes", `{"image":"no image"}`, key)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(m.sandbox.expect(t, 201, http.MethodPost, "/api/sandboxes", asked, key)), &made); err != nil {
		t.Fatal(err)
	}

	if text := m.sandbox.expect(t, 200, http.MethodGet, "/api/sandboxes", "", key); !strings.Contains(text, made.ID) {
		t.Errorf("the list of sandboxes is %s, want %s in it", text, made.ID)
	}

	for name, service := range map[string]served{"sandbox": m.sandbox, "browser": m.browser} {
		user := signIn(t, service)
		if text := user.expect(t, 200, http.MethodGet, "/api/me", "", nil); !strings.Contains(text, `"username":"admin"`) {
			t.Errorf("%s: the user is %s", name, text)
		}
	}
	// What a service made is not a user's.
	m.sandbox.expect(t, 404, http.MethodDelete, "/api/sandboxes/"+made.ID, "", nil)

	preview := http.Header{"Host": {made.ID + "-8000." + m.domain}}
	if text := m.sandbox.expect(t, 200, http.MethodGet, "/page", "", preview); !strings.Contains(text, `"port":8000`) || !strings.Contains(text, made.ID) {
		t.Errorf("the preview is %s", text)
	}
	m.sandbox.expect(t, 502, http.MethodGet, "/", "", http.Header{"Host": {"nosuch-8000." + m.domain}})
	conn, _, err := websocket.Dial(t.Context(), m.sandbox.base+"/ws", &websocket.DialOptions{Host: preview.Get("Host")})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := conn.Read(t.Context()); err != nil || string(text) != "hello" {
		t.Errorf("the WebSocket says %q, %v", text, err)
	}
	m.sandbox.expect(t, 204, http.MethodDelete, "/api/sandboxes/"+made.ID, "", key)
	m.sandbox.expect(t, 502, http.MethodGet, "/", "", preview)
}

// signIn sends a user of the control plane through the service's log-in.
func signIn(t *testing.T, service served) served {
	t.Helper()
	client := *service.client
	client.CheckRedirect = nil
	answer, err := client.Get(service.base + "/api/auth/login")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Request.URL.Path != "/" {
		t.Fatalf("signing in to %s ends at %s with %d", service.base, answer.Request.URL, answer.StatusCode)
	}
	return service
}

// A browser is made with the key, and its relay's credentials are those that the relay knows.
func TestBrowser(t *testing.T) {
	m := serveModules(t)
	m.expect(t, 200, http.MethodPost, "/api/auth/login", `{"username":"admin","password":"s3cret-enough"}`, nil)
	m.browser.expect(t, 401, http.MethodPost, "/api/browsers", "", nil)
	user := signIn(t, m.browser)
	var made struct {
		ID         string
		IceServers []struct {
			URLs                 []string
			Username, Credential string
		}
	}
	if err := json.Unmarshal([]byte(user.expect(t, 201, http.MethodPost, "/api/browsers", "", nil)), &made); err != nil {
		t.Fatal(err)
	}
	if len(made.IceServers) != 1 || made.IceServers[0].URLs[0] != "turn:192.0.2.1:3478?transport=tcp" || !strings.HasSuffix(made.IceServers[0].Username, ":sandbox") {
		t.Errorf("the relay is %+v", made.IceServers)
	}
	user.expect(t, 404, http.MethodPost, "/api/browsers/another/signal", `{}`, nil)

	outsider, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger := served{base: m.browser.base, client: &http.Client{Jar: outsider}}
	stranger.expect(t, 401, http.MethodPost, "/api/browsers/"+made.ID+"/signal", `{}`, nil)
}

// A stream goes on in silence, and what is uploaded arrives whole.
func TestStreamsAndUploads(t *testing.T) {
	s := serve(t, "jwt-secret-of-the-test")
	s.expect(t, 401, http.MethodPut, "/api/uploads/file", "content", nil)
	s.expect(t, 200, http.MethodPost, "/api/auth/login", `{"username":"admin","password":"s3cret-enough"}`, nil)
	if text := s.expect(t, 201, http.MethodPut, "/api/uploads/file", "content", nil); !strings.Contains(text, `"size":7`) {
		t.Errorf("the upload is %s", text)
	}
	s.expect(t, 400, http.MethodGet, "/api/events?every=often", "", nil)
	target, err := url.Parse(s.base)
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(t.Context(), "ws://"+target.Host+"/api/workspaces/any/agent/terminal/ws", &websocket.DialOptions{HTTPClient: s.client})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("ls")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := conn.Read(t.Context()); err != nil || string(text) != "ls" {
		t.Errorf("the terminal says %q, %v", text, err)
	}
}

func TestOpenSandboxRefuses(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"POD_IP is not set":           {"OPENSANDBOX_INSECURE_SERVER": "YES"},
		"OPENSANDBOX_INSECURE_SERVER": {"POD_IP": "127.0.0.1"},
	} {
		r := start(t, t.TempDir(), env, "opensandbox")
		if code := r.exits(); code != 1 || !strings.Contains(r.output.String(), want) {
			t.Errorf("ends with %d and says %q, want %q", code, r.output, want)
		}
	}
}

// The server lists its sandboxes page by page, and lets their end be moved.
func TestOpenSandboxLists(t *testing.T) {
	port := freePort(t)
	env := map[string]string{"PORT": port, "POD_IP": "127.0.0.1", "OPENSANDBOX_INSECURE_SERVER": "YES"}
	start(t, t.TempDir(), env, "opensandbox").says("listening")
	server := served{base: "http://127.0.0.1:" + port, client: http.DefaultClient}
	var first struct{ ID string }
	for n := range 3 {
		text := server.expect(t, 202, http.MethodPost, "/v1/sandboxes",
			`{"image":{"uri":"docker.io/library/node:22-bookworm"},"timeout":600,"metadata":{"n":"`+strconv.Itoa(n)+`"}}`, nil)
		if n == 0 {
			if err := json.Unmarshal([]byte(text), &first); err != nil {
				t.Fatal(err)
			}
		}
	}
	for query, want := range map[string][]string{
		"?page=1&pageSize=2":   {first.ID, `"hasNextPage":true`, `"totalItems":3`, `"totalPages":2`},
		"?page=2&pageSize=2":   {`"n":"2"`, `"hasNextPage":false`},
		"?page=9&pageSize=2":   {`"items":[]`},
		"?state=Paused":        {`"items":[]`, `"totalItems":0`},
		"?state=Running&x=any": {`"totalItems":3`},
	} {
		text := server.expect(t, 200, http.MethodGet, "/v1/sandboxes"+query, "", nil)
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %q is not in %s", query, part, text)
			}
		}
	}
	server.expect(t, 400, http.MethodGet, "/v1/sandboxes?page=0", "", nil)
	renew := "/v1/sandboxes/" + first.ID + "/renew-expiration"
	server.expect(t, 200, http.MethodPost, renew, `{"expiresAt":"2999-01-01T00:00:00Z"}`, nil)
	server.expect(t, 400, http.MethodPost, renew, `{"expiresAt":"1999-01-01T00:00:00Z"}`, nil)
	if text := server.expect(t, 200, http.MethodGet, "/v1/sandboxes/"+first.ID, "", nil); !strings.Contains(text, "2999-01-01") {
		t.Errorf("the sandbox is %s", text)
	}
}
