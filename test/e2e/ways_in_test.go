//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// edgeHost is a name that leads to the controller for pods too, so that services reach each other's public origins.
const edgeHost = "traefik." + neighbours + ".svc.cluster.local"

// The ways in: a port of the nodes, an Ingress, a Gateway, none; each reached by upgrading from the one before, with real
// clients through a real controller.
func TestWaysIn(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	env.meetNeighbours(t)
	t.Cleanup(func() { r.purge(t) })
	own := newAuthority(t)
	certificate := own.sign(t, edgeHost, "*."+edgeHost, "*.sandbox."+edgeHost)
	env.putSecret(t, neighbours, "edge-tls", certificate)
	gatewayAPI(t, env)
	env.applyNeighbour(t, "opensandbox", "opensandbox-server")

	base := []string{"--wait", "--set", "global.host=" + edgeHost}
	got := r.mustUpgrade(t, base...)
	wantNotes(t, got, "Open http://"+edgeHost+":30080")
	t.Run("a node port", func(t *testing.T) { r.wantNodePort(t, env.user(t, "http://"+edgeHost+":30080", nil)) })

	env.putSecret(t, r.namespace, "edge-tls", certificate)
	env.putSecret(t, r.namespace, "own-authority", map[string]string{"ca.crt": own.pem})
	env.applyNeighbour(t, "traefik", "traefik")
	modules := env.valuesFile(t, "edge.yaml", fmt.Sprintf(`
global:
  modules: {sandbox: {enabled: true}, browser: {enabled: true}}
  trustedCAs: {existingSecret: own-authority}
  networkPolicies:
    usersFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}, podSelector: {matchLabels: {app: traefik}}}]
sandbox:
  openSandbox: {url: "http://opensandbox-server.%[1]s.svc"}
browser:
  turn: {host: %[2]s}
  coturn: {nodeSelector: {kubernetes.io/hostname: %[3]s}}
`, neighbours, env.nodeIP, env.nodeName))
	base = append(base, "-f", modules)

	edge := env.user(t, "https://"+edgeHost, own.pool())
	t.Run("ingress", func(t *testing.T) {
		got := r.mustUpgrade(t, append(base, "--set", "global.exposure.type=ingress", "--set", "global.exposure.ingress.className=traefik",
			"--set", "global.exposure.tls.secretName=edge-tls", "--set", "global.exposure.tls.wildcardSecretName=edge-tls")...)
		wantNotes(t, got, "Open https://"+edgeHost, "files."+edgeHost, "*.sandbox."+edgeHost, "https://"+edgeHost+"/webhook/")
		r.wantWayIn(t, edge)
		for _, c := range []struct {
			selector string
			port     int
		}{{"app=nap-cp", 3000}, {"app=nap-sandbox", 3006}, {"app=nap-browser", 3005}, {"app=nap-cg", 3002}} {
			if r.strangerConnects(t, r.podIP(t, r.namespace, c.selector), c.port) {
				t.Errorf("with usersFrom a stranger connects to port %d of the pod with %s", c.port, c.selector)
			}
		}
	})

	env.applyFile(t, filepath.Join("testdata", "neighbours", "gateway.yaml"))
	t.Run("gateway", func(t *testing.T) {
		got := r.mustUpgrade(t, append(base, "--set", "global.exposure.type=gateway",
			"--set", "global.exposure.gateway.parentRefs[0].name=edge", "--set", "global.exposure.gateway.parentRefs[0].namespace="+neighbours)...)
		wantNotes(t, got, "Open https://"+edgeHost, "Gateway")
		r.wantWayIn(t, edge)
	})

	t.Run("none", func(t *testing.T) {
		got := r.mustUpgrade(t, append(base, "--set", "global.exposure.type=clusterIP")...)
		wantNotes(t, got, "port-forward service/nap-cp 3000", "http://localhost:3000")
		eventually(t, 20*time.Second, "the controller leads nowhere", func(ctx context.Context) (bool, string) {
			status, text := edge.ask(t, "/login")
			return status == http.StatusNotFound && !strings.Contains(text, "<html"), fmt.Sprintf("/login answers %d: %s", status, text)
		})
		names := r.objectNames(t)
		for name := range names {
			if strings.HasPrefix(name, "ingresses/") || name == "services/nap-closed" {
				t.Errorf("%s is left", name)
			}
		}
	})
}

// wantWayIn asserts that users reach through the controller what is for them, and nothing else.
func (r *release) wantWayIn(t *testing.T, visitor *session) {
	t.Helper()
	// The controller hears of its routes a moment after Helm's end.
	eventually(t, 30*time.Second, "the web interface answers", func(context.Context) (bool, string) {
		status, text := visitor.ask(t, "/login")
		return status == http.StatusOK, fmt.Sprintf("/login answers %d: %s", status, text)
	})
	admin := r.environment.user(t, visitor.base, visitor.roots())
	admin.logIn(t, r.secretValue(t, "nap-admin", "username"), r.secretValue(t, "nap-admin", "password"), http.StatusOK)
	host := strings.TrimPrefix(visitor.base, "https://")

	for origin, want := range map[string]string{
		"https://files." + host:    "Exported files",
		"https://sandbox." + host:  `"service":"sandbox"`,
		"https://browsers." + host: `"service":"browser"`,
	} {
		if status, text := visitor.at(origin).ask(t, "/"); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s answers %d: %s; want %s", origin, status, text, want)
		}
	}
	id := visitor.at("https://sandbox."+host).makeSandbox(t, r.secretValue(t, "nap-sandbox-secret", "SERVICE_KEY"))
	visitor.at("https://"+id+"-8000.sandbox."+host).wantPreview(t, id)
	// The services come back to their own origins to the letter, or the control plane would refuse them.
	for _, module := range []string{"sandbox", "browsers"} {
		r.environment.user(t, "https://"+module+"."+host, visitor.roots()).signIn(t, admin)
	}

	if status, text := visitor.send(t, http.MethodPost, "/webhook/slack/events"); status != http.StatusUnauthorized || !strings.Contains(text, "connector") {
		t.Errorf("/webhook/ answers %d: %s; want the channel gateway's refusal", status, text)
	}
	// These are the control plane's, which sends to the log-in, and not the gateway's, whose answer is JSON.
	for _, path := range []string{"/webhook/../internal/connectors", "/webhook/%2e%2e/internal/connectors"} {
		if status, text := visitor.ask(t, path); strings.HasPrefix(text, "{") {
			t.Errorf("%s is answered by the gateway, with %d: %s", path, status, text)
		}
	}
	admin.wantPublicPathsAlone(t)
	admin.overHTTP1().wantStream(t)
}

// closedPaths are paths that users may not reach, also in spellings that the control plane takes for the same ones: it
// resolves dots and decodes letters before it routes.
var closedPaths = []string{
	"/mcp", "/metrics", "/_cp/health", "/_cp/workspaces/x/skills", "/workspace/v1/skills", "/svc/v1/ping", "/env/v1/sync",
	"/env-gateway",
	"/x/../mcp", "/%6dcp", "//mcp", "/x/%2e%2e/mcp", "/webhook/../mcp", "/webhook/%2e%2e/mcp", "/api/../svc/v1/ping",
	"/%77orkspace/v1/skills", "/%5fcp/health",
}

// wantPublicPathsAlone asserts that a signed-in user gets to nothing that only services use, and that WebSockets, large
// uploads and streams pass.
func (s *session) wantPublicPathsAlone(t *testing.T) {
	t.Helper()
	for _, path := range closedPaths {
		// The control plane itself speaks JSON or of metrics, or sends to the log-in.
		status, text := s.ask(t, path)
		if status < http.StatusNotFound || strings.HasPrefix(text, "{") || strings.Contains(text, "# TYPE") {
			t.Errorf("%s is answered from outside, with %d: %s", path, status, text)
		}
	}
	s.wantSocket(t, "/api/workspaces/any/agent/terminal/ws")
	s.wantUpload(t, 64<<20)
	s.wantStream(t)
}

// wantNodePort asserts that users reach by the node port of a new installation what is for them, and nothing else, while
// workspaces still reach the control plane.
func (r *release) wantNodePort(t *testing.T, user *session) {
	t.Helper()
	user.logIn(t, r.secretValue(t, "nap-admin", "username"), r.secretValue(t, "nap-admin", "password"), http.StatusOK)
	user.wantPublicPathsAlone(t)
	// Inside the cluster the same paths are there.
	inside := r.environment.user(t, r.openPort(t, "nap-cp", 3000), nil)
	if status, text := inside.ask(t, "/metrics"); status != http.StatusOK {
		t.Errorf("the control plane itself answers /metrics with %d: %s", status, text)
	}
	r.closePort(t, "nap-cp")
}

// ask gets a path as it is, following nothing, and returns the beginning of the answer.
func (s *session) ask(t *testing.T, path string) (int, string) {
	t.Helper()
	return s.send(t, http.MethodGet, path)
}

func (s *session) send(t *testing.T, method, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Workspace-ID", "anything")
	client := *s.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(request)
	if err != nil {
		t.Logf("%s %s%s: %v", method, s.base, path, err)
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// wantUpload asserts that so many bytes arrive whole.
func (s *session) wantUpload(t *testing.T, size int64) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.base+"/api/uploads/large", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = size
	answer, err := s.client.Do(request)
	if err != nil {
		t.Errorf("upload of %d bytes: %v", size, err)
		return
	}
	defer answer.Body.Close()
	var arrived struct{ Size int64 }
	if err := json.NewDecoder(answer.Body).Decode(&arrived); err != nil || answer.StatusCode != http.StatusCreated || arrived.Size != size {
		t.Errorf("upload of %d bytes answers %d, %d bytes arrived, %v", size, answer.StatusCode, arrived.Size, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// wantStream asserts that a stream goes on after a silence longer than the controller's limits on silence.
func (s *session) wantStream(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/api/events?every=5", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.client.Do(request)
	if err != nil {
		t.Errorf("stream: %v", err)
		return
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for want := 1; want <= 2; {
		if !lines.Scan() {
			t.Errorf("the stream over %s is cut off before event %d: %v", answer.Proto, want, lines.Err())
			return
		}
		if lines.Text() == fmt.Sprintf("data: %d", want) {
			want++
		}
	}
}

// wantNotes asserts what Helm printed after an install or upgrade.
func wantNotes(t *testing.T, got result, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got.output, want) {
			t.Errorf("NOTES.txt does not say %q:\n%s", want, got.output)
		}
	}
}
