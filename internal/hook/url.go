package hook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// WaitForURL waits until at answers with a status below 400.
func WaitForURL(ctx context.Context, log *slog.Logger, at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return Errorf(Usage, "--http needs an address of the form http://host:port/path, not %q", at)
	}
	// No proxy: what it waits for is a service of the same cluster.
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	return Poll(ctx, log, at, func(ctx context.Context) (bool, string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return false, "", Errorf(Usage, "--http %s: %w", at, err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return false, "it does not answer: " + cause(err), nil
		}
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		return resp.StatusCode < 400, fmt.Sprintf("it answers with %s", resp.Status), nil
	})
}

// cause leaves out what url.Error repeats of the request.
func cause(err error) string {
	if e, ok := err.(*url.Error); ok {
		return e.Err.Error()
	}
	return err.Error()
}
