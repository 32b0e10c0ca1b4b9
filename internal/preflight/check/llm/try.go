package llm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
)

// protocol is one way to talk to a model.
type protocol struct {
	name string
	// versioned bases end in /v1, which is added where it is missing.
	versioned bool
	path      string
	body      func(model string) map[string]any
	headers   func(key string) map[string]string
	// read tells what one event of the stream means.
	read func(data string) (meaning, error)
}

type meaning int

const (
	other meaning = iota
	// text is a piece of the answer.
	text
	// end is the event that says that the answer is complete.
	end
)

// tokens are enough for an answer of several pieces; some endpoints refuse fewer than 16.
const tokens = 64

const question = "Count from one to twenty in words."

var protocols = map[string]protocol{
	"claude-code": {
		name: "Anthropic Messages", path: "/v1/messages",
		body: func(model string) map[string]any {
			return map[string]any{"model": model, "max_tokens": tokens, "stream": true, "messages": []any{map[string]any{"role": "user", "content": question}}}
		},
		headers: func(key string) map[string]string {
			return map[string]string{"x-api-key": key, "anthropic-version": "2023-06-01"}
		},
		read: readAnthropic,
	},
	"codex": {
		name: "OpenAI Responses", versioned: true, path: "/responses",
		body: func(model string) map[string]any {
			return map[string]any{"model": model, "max_output_tokens": tokens, "stream": true, "input": question}
		},
		headers: bearer, read: readResponses,
	},
	"goose": {
		name: "OpenAI Chat Completions", versioned: true, path: "/chat/completions",
		body: func(model string) map[string]any {
			return map[string]any{"model": model, "max_tokens": tokens, "stream": true, "messages": []any{map[string]any{"role": "user", "content": question}}}
		},
		headers: bearer, read: readChat,
	},
}

func bearer(key string) map[string]string { return map[string]string{"Authorization": "Bearer " + key} }

const limit = time.Minute

// Try asks the model one short question as the agent would.
func Try(ctx context.Context, model preflight.Model, key string) ([]preflight.Finding, error) {
	p, known := protocols[model.Agent]
	if !known {
		return nil, fmt.Errorf("the agent %q is none of %s", model.Agent, strings.Join(Agents(), ", "))
	}
	t := &trial{protocol: p, model: model, key: key}
	endpoint, err := p.endpoint(model.URL)
	if err != nil {
		return []preflight.Finding{t.finding(err.Error(), "correct the URL")}, nil
	}
	t.url = endpoint
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return t.ask(ctx)
}

func (p protocol) endpoint(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("it is no URL of the form https://host/path")
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	u.Path = strings.TrimRight(u.Path, "/")
	if p.versioned && !strings.HasSuffix(u.Path, "/v1") {
		u.Path += "/v1"
	}
	return u.String() + p.path, nil
}

type trial struct {
	protocol
	model preflight.Model
	key   string
	url   string
}

func (t *trial) finding(cause, fix string) preflight.Finding {
	object := t.url
	if object == "" {
		object = t.model.Agent
	}
	return preflight.Finding{
		Object: object, Value: "--model agent=" + t.model.Agent, Found: strings.ReplaceAll(cause, t.key, "(the key)"),
		Why: fmt.Sprintf("agents of the type %s speak %s and nothing else", t.model.Agent, t.name), Fix: fix,
	}
}

func (t *trial) ask(ctx context.Context) ([]preflight.Finding, error) {
	body, err := json.Marshal(t.body(t.model.Name))
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	for name, value := range t.headers(t.key) {
		request.Header.Set(name, value)
	}
	// A redirect would carry the key to somebody else.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	sent := time.Now()
	response, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return []preflight.Finding{t.finding("it is not reached from here: "+err.Error(), "correct the URL, or let this machine reach it; whether pods do is told by network.egress")}, nil
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return []preflight.Finding{t.refused(response)}, nil
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/event-stream" {
		return []preflight.Finding{t.finding(fmt.Sprintf("it answers in %q instead of a stream", response.Header.Get("Content-Type")), "let the endpoint, or what stands before it, serve streams (text/event-stream)")}, nil
	}
	return t.follow(response.Body, sent), nil
}

func (t *trial) refused(response *http.Response) preflight.Finding {
	content, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
	said := strings.Join(strings.Fields(string(content)), " ")
	if len(said) > 200 {
		said = strings.ToValidUTF8(said[:200], "") + "…"
	}
	cause := fmt.Sprintf("it answers %s: %s", response.Status, said)
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return t.finding("it does not accept the key: "+cause, "correct the key, or its rights to the model "+t.model.Name)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return t.finding(cause, fmt.Sprintf("name an endpoint that speaks %s, and a model that it has (%s)", t.name, t.model.Name))
	case http.StatusTooManyRequests, http.StatusPaymentRequired:
		finding := t.finding(cause, "wait, or raise the account's limits or credit")
		finding.Severity = preflight.Warning
		return finding
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return t.finding("it does not understand the request: "+cause, fmt.Sprintf("name an endpoint that speaks %s, and a model that it has (%s)", t.name, t.model.Name))
	}
	return t.finding(cause, "look at the endpoint and at what stands before it")
}

// follow reads the stream to its end and notes when its pieces came.
func (t *trial) follow(stream io.Reader, sent time.Time) []preflight.Finding {
	var first, last time.Time
	pieces, complete := 0, false
	lines := bufio.NewScanner(io.LimitReader(stream, 1<<20))
	lines.Buffer(nil, 1<<19)
	for !complete && lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		if field != "data" {
			continue
		}
		kind, err := t.read(value)
		if err != nil {
			return []preflight.Finding{t.finding("its stream is not of the protocol: "+err.Error(), "name an endpoint that speaks "+t.name)}
		}
		switch kind {
		case text:
			if pieces++; pieces == 1 {
				first = time.Now()
			}
			last = time.Now()
		case end:
			complete = true
		}
	}
	switch {
	case !complete:
		cause := "its stream ends before the answer does"
		if err := lines.Err(); err != nil {
			cause += ": " + err.Error()
		}
		return []preflight.Finding{t.finding(cause, "look at time limits of what stands before the endpoint, and at whether it speaks "+t.name)}
	case pieces == 0:
		return []preflight.Finding{t.finding("it answers without a word", "name a model that answers in text, and try again")}
	case pieces > 4 && last.Sub(sent) > 500*time.Millisecond && last.Sub(first) < last.Sub(sent)/20:
		finding := t.finding("the whole answer comes at once, in the end", "turn buffering of responses off in what stands before the endpoint (nginx: proxy_buffering off)")
		finding.Severity, finding.Why = preflight.Warning, "users see nothing until an answer is complete, and long ones are cut off by time limits"
		return []preflight.Finding{finding}
	}
	return nil
}
