package httpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// StatusError is an answer that was not a success.
type StatusError struct {
	URL    string
	Status int
	// Text is the beginning of what it said.
	Text string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answered %d: %s", e.URL, e.Status, e.Text)
}

// client takes a redirection for an answer: what no service expects must not end at a page for people.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Get asks for a URL with headers and decodes the JSON it answers into response, unless that is nil.
func Get(ctx context.Context, url string, header http.Header, response any) error {
	return Call(ctx, http.MethodGet, url, header, nil, response)
}

// Call sends a request as JSON, unless that is nil, and decodes the JSON of the answer into response, unless that is nil.
func Call(ctx context.Context, method, url string, header http.Header, request, response any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var content io.Reader
	if request != nil {
		encoded, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		content = bytes.NewReader(encoded)
	}
	asked, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	if header != nil {
		asked.Header = header
	}
	answer, err := client.Do(asked)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // Only reading.
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return &StatusError{URL: url, Status: answer.StatusCode, Text: string(body[:min(len(body), 300)])}
	}
	if response == nil {
		return nil
	}
	if err := json.Unmarshal(body, response); err != nil {
		return fmt.Errorf("the answer of %s is not what it should be: %w", url, err)
	}
	return nil
}

// Bearer is the header of a token.
func Bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
