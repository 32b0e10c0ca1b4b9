package llm_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/llm"
)

const key = "sk-test-1234567890"

// endpoint is a model's, that speaks one protocol rightly unless it is told otherwise.
type endpoint struct {
	agent string
	// pause lies between two pieces; with late all of them come after the last pause.
	pause time.Duration
	late  bool
	// pieces are fewer than an answer takes, and no end follows, if cut is set.
	cut bool
	// status and said replace the answer.
	status int
	said   string
	// plain answers without a stream.
	plain bool
}

func (e endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	paths := map[string]string{"claude-code": "/v1/messages", "codex": "/v1/responses", "goose": "/v1/chat/completions"}
	var body map[string]any
	err := json.NewDecoder(r.Body).Decode(&body)
	authorized := r.Header.Get("Authorization") == "Bearer "+key
	if e.agent == "claude-code" {
		authorized = r.Header.Get("X-Api-Key") == key && r.Header.Get("Anthropic-Version") != ""
	}
	switch {
	case e.status != 0:
		http.Error(w, e.said, e.status)
	case r.URL.Path != paths[e.agent]:
		http.NotFound(w, r)
	case !authorized:
		http.Error(w, "invalid api key "+r.Header.Get("Authorization")+r.Header.Get("X-Api-Key"), http.StatusUnauthorized)
	case err != nil || body["stream"] != true || body["model"] != "small":
		http.Error(w, "bad request", http.StatusBadRequest)
	case e.plain:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"choices":[]}`)
	default:
		e.stream(w)
	}
}

func (e endpoint) stream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	begin, piece, end := map[string]string{
		"claude-code": `{"type":"message_start","message":{"id":"m"}}`, "codex": `{"type":"response.created"}`, "goose": `{"choices":[{"delta":{"role":"assistant"}}]}`,
	}[e.agent], map[string]string{
		"claude-code": `{"type":"content_block_delta","delta":{"text":"one"}}`, "codex": `{"type":"response.output_text.delta","delta":"one"}`,
		"goose": `{"choices":[{"delta":{"content":"one"}}]}`,
	}[e.agent], map[string]string{
		"claude-code": `{"type":"message_stop"}`, "codex": `{"type":"response.incomplete"}`, "goose": `[DONE]`,
	}[e.agent]
	flush := func() {
		if !e.late {
			w.(http.Flusher).Flush()
		}
	}
	fmt.Fprintf(w, ": a comment\nevent: start\ndata: %s\n\n", begin)
	for range 8 {
		time.Sleep(e.pause)
		fmt.Fprintf(w, "data: %s\n\n", piece)
		flush()
	}
	if !e.cut {
		fmt.Fprintf(w, "data: %s\n\n", end)
	}
}

func try(t *testing.T, handler http.Handler, agent, path string) []preflight.Finding {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	findings, err := llm.Try(t.Context(), preflight.Model{Agent: agent, URL: server.URL + path, Name: "small"}, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if strings.Contains(fmt.Sprint(f), key) {
			t.Errorf("the key is told: %+v", f)
		}
	}
	return findings
}

func TestEveryProtocol(t *testing.T) {
	for _, agent := range llm.Agents() {
		for _, path := range map[string][]string{"claude-code": {"", "/"}, "codex": {"", "/v1", "/v1/"}, "goose": {"", "/v1"}}[agent] {
			if got := try(t, endpoint{agent: agent, pause: 20 * time.Millisecond}, agent, path); len(got) != 0 {
				t.Errorf("%s at %q: %+v", agent, path, got)
			}
		}
	}
}

// Each agent needs its own protocol: an endpoint that speaks another one will not do, least of all Chat Completions
// for codex.
func TestOtherProtocols(t *testing.T) {
	for _, agent := range llm.Agents() {
		for _, spoken := range llm.Agents() {
			if agent == spoken {
				continue
			}
			got := try(t, endpoint{agent: spoken}, agent, "")
			if len(got) != 1 || !strings.Contains(got[0].Found, "404") || got[0].Severity == preflight.Warning {
				t.Errorf("%s at an endpoint for %s: %+v", agent, spoken, got)
			}
		}
	}
}

func TestEndpointsThatFail(t *testing.T) {
	for name, test := range map[string]struct {
		handler  http.Handler
		cause    string
		severity preflight.Severity
	}{
		"key refused":     {endpoint{agent: "goose", status: 401, said: "no such key " + key}, "does not accept the key", preflight.Unset},
		"no credit":       {endpoint{agent: "goose", status: 429, said: "quota"}, "429", preflight.Warning},
		"model unknown":   {endpoint{agent: "goose", status: 400, said: "unknown model"}, "unknown model", preflight.Unset},
		"broken":          {endpoint{agent: "goose", status: 502, said: "bad gateway"}, "502", preflight.Unset},
		"no stream":       {endpoint{agent: "goose", plain: true}, `"application/json" instead of a stream`, preflight.Unset},
		"cut off":         {endpoint{agent: "goose", cut: true}, "ends before the answer does", preflight.Unset},
		"buffered":        {endpoint{agent: "goose", pause: 100 * time.Millisecond, late: true}, "comes at once", preflight.Warning},
		"another dialect": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { endpoint{agent: "codex"}.stream(w) }), "a chunk has no choices", preflight.Unset},
		"an error amid": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"error\":{\"message\":\"overloaded\"}}\n\n")
		}), "overloaded", preflight.Unset},
	} {
		t.Run(name, func(t *testing.T) {
			got := try(t, test.handler, "goose", "")
			if len(got) != 1 || !strings.Contains(got[0].Found, test.cause) || got[0].Severity != test.severity {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// The stream of each protocol can break in its own way.
func TestStreamsThatBreak(t *testing.T) {
	for name, test := range map[string]struct{ agent, data, want string }{
		"anthropic error":   {"claude-code", `{"type":"error","error":{"message":"overloaded"}}`, "overloaded"},
		"anthropic unknown": {"claude-code", `{"type":"response.created"}`, `"response.created" is unknown`},
		"responses failed":  {"codex", `{"type":"response.failed"}`, "the response failed"},
		"responses unknown": {"codex", `{"type":"message_start"}`, `"message_start" is unknown`},
		"responses chat":    {"codex", `{"choices":[]}`, "has no type"},
		"no JSON":           {"codex", `[DONE]`, "no JSON"},
	} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: %s\n\n", test.data)
		})
		if got := try(t, handler, test.agent, ""); len(got) != 1 || !strings.Contains(got[0].Found, test.want) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// A redirect is not followed: it would carry the key to somebody else.
func TestRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	if got := try(t, http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect), "codex", ""); len(got) != 1 || !strings.Contains(got[0].Found, "307") {
		t.Errorf("%+v", got)
	}
}

func TestKeys(t *testing.T) {
	server := httptest.NewServer(endpoint{agent: "codex"})
	defer server.Close()
	check := llm.Checks()[0]
	subject := &preflight.Subject{Options: preflight.Options{Models: []preflight.Model{{Agent: "codex", URL: server.URL, Name: "small"}}}}
	if _, err := check.Run(t.Context(), subject); err == nil || !strings.Contains(err.Error(), "set NEUTREE_MODEL_KEY_CODEX") {
		t.Errorf("without a key: %v", err)
	}
	t.Setenv(llm.KeyVariable("codex"), key)
	if findings, err := check.Run(t.Context(), subject); err != nil || len(findings) != 0 {
		t.Errorf("with one: %v, %v", findings, err)
	}
	for _, bad := range []string{"api.example.com", "ftp://api.example.com"} {
		findings, err := llm.Try(t.Context(), preflight.Model{Agent: "codex", URL: bad, Name: "small"}, key)
		if err != nil || len(findings) != 1 || !strings.Contains(findings[0].Found, "no URL") {
			t.Errorf("%s: %v, %v", bad, findings, err)
		}
	}
	if applies, reason := check.Applies(&preflight.Subject{}); applies || reason == "" {
		t.Error("without a model the check applies")
	}
}
