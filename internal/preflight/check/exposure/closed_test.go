package exposure

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// edge is a controller that closes paths, either as they are written or as they are meant, before a control plane that
// resolves them.
func edge(t *testing.T, resolves bool) string {
	t.Helper()
	meant := func(raw string) string {
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			t.Error(err)
		}
		return path.Clean("/" + decoded)
	}
	closed := func(asked string) bool {
		for _, one := range platform.ClosedPaths() {
			if asked == one || strings.HasPrefix(asked, one+"/") {
				return true
			}
		}
		return false
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _, _ := strings.Cut(r.RequestURI, "?")
		routed := raw
		if resolves {
			routed = meant(raw)
		}
		if closed(routed) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"message":"failure to get a peer"}`))
			return
		}
		if closed(meant(raw)) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"who are you?"}`))
			return
		}
		http.Redirect(w, r, "/login", http.StatusFound)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func closedOf(t *testing.T, origin string) []preflight.Finding {
	t.Helper()
	return closedBy(t, requirement.Exposure{Type: "ingress", URLs: map[string]string{"web": origin}})
}

func closedBy(t *testing.T, exposure requirement.Exposure) []preflight.Finding {
	t.Helper()
	subject := &preflight.Subject{
		Requirements: &requirement.Set{Exposure: exposure}, Options: preflight.Options{Upgrade: true},
	}
	findings, err := closedPaths(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

func TestClosedPaths(t *testing.T) {
	if findings := closedOf(t, edge(t, true)); len(findings) > 0 {
		t.Errorf("a controller that resolves paths: %+v", findings)
	}
	findings := closedOf(t, edge(t, false))
	if len(findings) != 1 || findings[0].Severity != preflight.Error && findings[0].Severity != 0 {
		t.Fatalf("a controller that does not: %+v", findings)
	}
	for _, written := range []string{"/x/../mcp", "/%6dcp", "//mcp", "/webhook/%2e%2e/svc/v1"} {
		if !strings.Contains(findings[0].Found, written) {
			t.Errorf("%s is not named: %s", written, findings[0].Found)
		}
	}
	findings = closedOf(t, "http://127.0.0.1:1")
	if len(findings) != 1 || findings[0].Severity != preflight.Warning || !strings.Contains(findings[0].Found, "does not answer from here") {
		t.Errorf("where nothing answers: %+v", findings)
	}
}

// A node port of an earlier version opens all paths. Whether it stays so, the values say.
func TestOpenNodePort(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	node := requirement.Exposure{Type: "nodePort", URLs: map[string]string{"web": server.URL}}
	findings := closedBy(t, node)
	if len(findings) != 1 || findings[0].Severity != preflight.Note || !strings.Contains(findings[0].Fix, "this upgrade closes them") {
		t.Errorf("where the upgrade closes them: %+v", findings)
	}
	node.OpenPaths = true
	findings = closedBy(t, node)
	if len(findings) != 1 || findings[0].Severity != preflight.Warning ||
		!strings.Contains(findings[0].Fix, "global.exposure.internalPaths=closed") {
		t.Errorf("where they stay open: %+v", findings)
	}
	// One that closes the plain spellings alone is what was meant to close all.
	node.URLs["web"] = edge(t, false)
	findings = closedBy(t, node)
	if len(findings) != 1 || findings[0].Severity != preflight.Error && findings[0].Severity != 0 {
		t.Errorf("where other spellings pass: %+v", findings)
	}
}

func TestClosedPathsAreTriedWhereSomethingAnswers(t *testing.T) {
	for kind, want := range map[string]bool{"ingress": true, "gateway": true, "nodePort": true, "clusterIP": false} {
		subject := &preflight.Subject{
			Requirements: &requirement.Set{Exposure: requirement.Exposure{Type: kind}}, Options: preflight.Options{Upgrade: true},
		}
		if is, _ := runsExposed(subject); is != want {
			t.Errorf("%s: %t", kind, is)
		}
		subject.Options.Upgrade = false
		if is, why := runsExposed(subject); is || !strings.Contains(why, "not installed yet") {
			t.Errorf("%s before an install: %t, %s", kind, is, why)
		}
	}
}
