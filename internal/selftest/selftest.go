// Package selftest proves that an installed release works: what helm test runs.
package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// attempt bounds one request; a service that needs longer is not healthy.
const attempt = 5 * time.Second

// Credentials are the administrator's and the database's, from the environment.
type Credentials struct {
	Username, Password, DatabaseURL string
}

// outcome is what one check found.
type outcome struct {
	name string
	err  error
}

// Run makes every check of the spec at once, each until it holds or the time is over, and writes a line on each to w.
// Its error says how many do not hold.
func Run(ctx context.Context, w io.Writer, spec hook.TestSpec, with Credentials) error {
	checks := []check{
		{"the administrator logs in", logIn(spec.LogIn, with)},
		{"the schema is this release's", func(ctx context.Context) error {
			return migrate.WaitForSet(ctx, slog.New(slog.DiscardHandler), with.DatabaseURL, spec.Set)
		}},
	}
	for _, service := range spec.Services {
		does := connect(service.Address)
		if service.URL != "" {
			does = answer(service.URL)
		}
		checks = append(checks, check{service.Name + " answers", does})
	}
	outcomes := make([]outcome, len(checks))
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() { outcomes[i] = outcome{check.name, check.do(ctx)} })
	}
	running.Wait()
	return report(w, outcomes)
}

type check struct {
	name string
	do   func(context.Context) error
}

func report(w io.Writer, outcomes []outcome) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	failed := 0
	for _, o := range outcomes {
		if o.err == nil {
			fmt.Fprintf(table, "pass\t%s\n", o.name)
			continue
		}
		failed++
		fmt.Fprintf(table, "FAIL\t%s\t%v\n", o.name, o.err)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return hook.Refusef(finding.TestServices, "the log says which", "%d of %d checks failed", failed, len(outcomes))
	}
	return nil
}

// until asks again until the check holds or ctx ends: right after an upgrade a service may not serve yet.
func until(ctx context.Context, what string, once func(context.Context) error) error {
	return hook.Poll(ctx, slog.New(slog.DiscardHandler), what, func(ctx context.Context) (bool, string, error) {
		ctx, cancel := context.WithTimeout(ctx, attempt)
		defer cancel()
		err := once(ctx)
		var final *hook.Error
		if errors.As(err, &final) {
			return false, "", err
		}
		if err != nil {
			return false, err.Error(), nil
		}
		return true, "", nil
	})
}

func answer(at string) func(context.Context) error {
	return func(ctx context.Context) error {
		return until(ctx, at, func(ctx context.Context) error {
			status, err := request(ctx, http.MethodGet, at, nil)
			if err == nil && status >= http.StatusBadRequest {
				err = fmt.Errorf("it answers with %d", status)
			}
			return err
		})
	}
}

func connect(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		return until(ctx, address, func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
}

func logIn(at string, with Credentials) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := json.Marshal(map[string]string{"username": with.Username, "password": with.Password})
		if err != nil {
			return err
		}
		return until(ctx, at, func(ctx context.Context) error {
			status, err := request(ctx, http.MethodPost, at, body)
			switch {
			case err != nil:
				return err
			case status == http.StatusUnauthorized:
				return hook.Refusef(finding.TestLogin,
					"if they were changed since the install, write them into the Secret too",
					"%s refuses the administrator's name and password", at)
			case status != http.StatusOK:
				return fmt.Errorf("it answers with %d", status)
			}
			return nil
		})
	}
}

// request never shows what it sends: a body holds a password.
func request(ctx context.Context, method, at string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return 0, hook.Errorf(hook.Usage, "%s is no address: %w", at, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// No proxy: these are services of the same cluster.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return 0, fmt.Errorf("it does not answer: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, err
}
