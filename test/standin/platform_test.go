package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/standintest"
)

// fakeKubernetes is an API server without any objects. It returns the kubeconfig that leads to it.
func fakeKubernetes(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "s") {
			_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"List","items":[]}`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404}`)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"` + server.URL + `"}}],"users":[{"name":"u","user":{}}]}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// served is a control plane and a gateway that listen.
type served struct {
	base, database string
	controlPlane   *running
	client         *http.Client
}

// serve starts both, the control plane with changes of its environment.
func serve(t testing.TB, gatewaySecret string, changes ...string) served {
	t.Helper()
	database := standintest.Migrated(t)
	seedAdmin(t, database)
	gatewayPort, port := freePort(t), freePort(t)
	gateway := start(t, workdir(t, "gateway", nil), with(gatewayEnv(database), "PORT", gatewayPort, "JWT_SECRET", gatewaySecret), "node", "dist/index.js")
	env := with(controlPlaneEnv(database), "PORT", port, "PPROF_PORT", freePort(t),
		"KUBECONFIG", fakeKubernetes(t), "CG_URL", "http://127.0.0.1:"+gatewayPort, "APP_VERSION", "abc")
	controlPlane := start(t, workdir(t, "controlPlane", nil), with(env, changes...), "node", "dist/index.js")
	gateway.says("listening")
	controlPlane.says("listening")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := served{base: "http://127.0.0.1:" + port, database: database, controlPlane: controlPlane, client: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	eventually(t, "the control plane answers", func() error {
		answer, err := s.client.Get(s.base + "/healthz")
		if err == nil {
			answer.Body.Close()
		}
		return err
	})
	return s
}

func (s served) ask(t testing.TB, method, path, body string, header http.Header) (int, string, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name := range header {
		request.Header.Set(name, header.Get(name))
	}
	if host := header.Get("Host"); host != "" {
		request.Host = host
	}
	answer, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Header
}

func (s served) expect(t testing.TB, status int, method, path, body string, header http.Header) string {
	t.Helper()
	got, text, _ := s.ask(t, method, path, body, header)
	if got != status {
		t.Errorf("%s %s answers %d, want %d: %s", method, path, got, status, text)
	}
	return text
}

func TestPlatform(t *testing.T) {
	s := serve(t, "jwt-secret-of-the-test")

	for path, status := range map[string]int{
		"/healthz": 200, "/api/version": 200, "/metrics": 200, "/login": 200, "/": 302, "/api/workspaces": 401, "/api/nothing": 401,
		"/api/admin/drift": 401, "/_cg/me": 401, "/mcp": 400, "/_cp/health": 302, "/svc/v1/ping": 401, "/workspace/v1/skills": 401,
	} {
		s.expect(t, status, http.MethodGet, path, "", nil)
	}
	if text := s.expect(t, 200, http.MethodGet, "/", "", http.Header{"Host": {"files.localhost"}}); !strings.Contains(text, "Exported files") {
		t.Errorf("under files.* there is %q", text)
	}
	s.expect(t, 200, http.MethodGet, "/svc/v1/ping", "", http.Header{"X-Platform-Service-Key": {"service-key-of-the-test"}})
	s.expect(t, 401, http.MethodGet, "/svc/v1/ping", "", http.Header{"X-Platform-Service-Key": {"another key"}})

	for _, wrong := range []string{`{"username":"admin","password":"wrong-one"}`, `{"username":"nobody","password":"s3cret-enough"}`, `{"username":"system","password":"x"}`} {
		s.expect(t, 401, http.MethodPost, "/api/auth/login", wrong, nil)
	}
	s.expect(t, 400, http.MethodPost, "/api/auth/login", `{}`, nil)
	_, _, header := s.ask(t, http.MethodPost, "/api/auth/login", `{"username":"admin","password":"s3cret-enough"}`, nil)
	if cookie := header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "token=") || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Fatalf("login sets the cookie %q", cookie)
	}
	if text := s.expect(t, 200, http.MethodGet, "/api/me", "", nil); !strings.Contains(text, `"role":"admin"`) {
		t.Errorf("/api/me is %s", text)
	}
	s.expect(t, 200, http.MethodGet, "/_cg/me", "", nil)
	s.expect(t, 404, http.MethodGet, "/api/nothing", "", nil)
	if text := s.expect(t, 502, http.MethodGet, "/api/admin/dependencies", "", nil); !strings.Contains(text, `"channel-gateway":"ok"`) {
		t.Errorf("dependencies are %s", text)
	}

	for _, wrong := range []string{`{"name":"","agentType":"codex"}`, `{"name":"w","agentType":"cobol"}`, `{"name":"w","agentType":"codex","autoScaling":true}`, `{"name":"w","agentType":"codex","storageSize":"much"}`} {
		s.expect(t, 400, http.MethodPost, "/api/workspaces", wrong, nil)
	}
	var created struct{ ID, Name string }
	if err := json.Unmarshal([]byte(s.expect(t, 201, http.MethodPost, "/api/workspaces", `{"name":"w","agentType":"codex"}`, nil)), &created); err != nil || len(created.ID) != 8 {
		t.Fatalf("created %+v, %v", created, err)
	}
	if text := s.expect(t, 200, http.MethodGet, "/api/workspaces/"+created.ID, "", nil); !strings.Contains(text, `"status":"starting"`) {
		t.Errorf("the workspace is %s", text)
	}
	s.expect(t, 200, http.MethodPost, "/api/workspaces/"+created.ID+"/stop", "", nil)
	if text := s.expect(t, 200, http.MethodGet, "/api/workspaces", "", nil); !strings.Contains(text, `"desiredState":"stopped"`) {
		t.Errorf("the workspaces are %s", text)
	}
	s.expect(t, 200, http.MethodDelete, "/api/workspaces/"+created.ID, "", nil)
	s.expect(t, 404, http.MethodGet, "/api/workspaces/"+created.ID, "", nil)
}

// A gateway with another JWT_SECRET takes nobody for signed in.
func TestGatewayWithAnotherSecret(t *testing.T) {
	s := serve(t, "another secret")
	s.expect(t, 200, http.MethodPost, "/api/auth/login", `{"username":"admin","password":"s3cret-enough"}`, nil)
	if text := s.expect(t, 401, http.MethodGet, "/_cg/me", "", nil); !strings.Contains(text, "JWT_SECRET differs") {
		t.Errorf("the gateway says %s", text)
	}
}

// A control plane that is told to stop lets streams end, answers meanwhile, and ends in good order.
func TestControlPlaneDrains(t *testing.T) {
	s := serve(t, "jwt-secret-of-the-test")
	s.expect(t, 200, http.MethodPost, "/api/auth/login", `{"username":"admin","password":"s3cret-enough"}`, nil)
	stream, err := s.client.Get(s.base + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	s.controlPlane.signal(syscall.SIGTERM)
	s.controlPlane.says("told to stop")
	s.expect(t, 200, http.MethodGet, "/healthz", "", nil)
	stream.Body.Close()
	began := time.Now()
	if code := s.controlPlane.exits(); code != 0 {
		t.Errorf("ends with %d:\n%s", code, s.controlPlane.output)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s to end after the last stream", took)
	}
}
