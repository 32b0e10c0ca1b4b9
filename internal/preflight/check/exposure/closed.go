package exposure

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
)

// runsExposed applies where a release is there to be asked from outside.
func runsExposed(s *preflight.Subject) (bool, string) {
	if !s.Options.Upgrade {
		return false, "the release is not installed yet: nothing answers"
	}
	kind := s.Requirements.Exposure.Type
	return kind != "clusterIP", fmt.Sprintf("global.exposure.type is %s", kind)
}

// closedPaths asks for what no user may reach, in the ways that the control plane takes for the same path.
func closedPaths(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	origin := s.Requirements.Exposure.URLs["web"]
	found := preflight.Finding{Object: origin, Value: "global.exposure"}
	client := &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// Nothing secret is sent, and exposure.certificate judges the certificate.
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // See above.
			Proxy:             http.ProxyFromEnvironment,
			DisableKeepAlives: true,
		},
	}
	var open []string
	for _, path := range platform.ClosedPaths() {
		for _, written := range disguises(path) {
			answered, err := controlPlaneAnswers(ctx, client, origin+written)
			if err != nil {
				found.Severity = preflight.Warning
				found.Found = fmt.Sprintf("%s does not answer from here, so its closed paths were not tried: %v", origin, err)
				found.Fix = "run it again where users are"
				return []preflight.Finding{found}, nil
			}
			if answered {
				open = append(open, written)
			}
		}
	}
	if len(open) == 0 {
		return nil, nil
	}
	found.Found = fmt.Sprintf("the control plane answers to %s from outside", strings.Join(open, ", "))
	found.Why = "workspaces and services use these paths, some without any password"
	found.Fix = "let the controller resolve dots, double slashes and encoded letters before it routes"
	// What lets only public paths pass closes at least those that are written plainly.
	if s.Requirements.Exposure.Type != "nodePort" || !slices.Contains(open, platform.ClosedPaths()[0]) {
		return []preflight.Finding{found}, nil
	}
	// The node port leads to the control plane itself, which an upgrade changes where the values say so.
	found.Value = "global.exposure.internalPaths"
	found.Severity, found.Fix = preflight.Note, "nothing: this upgrade closes them"
	if s.Requirements.Exposure.OpenPaths {
		found.Severity = preflight.Warning
		found.Fix = "set " + found.Value + "=closed; environments outside the cluster then need global.exposure.remoteEnvironments=true"
	}
	return []preflight.Finding{found}, nil
}

// disguises are ways to write a path that the control plane takes for the same one.
func disguises(path string) []string {
	return []string{
		path, "/x/.." + path, "/x/%2e%2e" + path, "/" + path, fmt.Sprintf("/%%%02x%s", path[1], path[2:]),
		"/webhook/.." + path, "/webhook/%2e%2e" + path,
	}
}

// controlPlaneAnswers says whether what answers speaks JSON or of metrics: a controller that leads nowhere speaks neither.
func controlPlaneAnswers(ctx context.Context, client *http.Client, url string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil && len(text) == 0 {
		return false, err
	}
	// Controllers that answer in JSON too have nothing there, or nothing that serves it.
	if answer.StatusCode >= http.StatusInternalServerError || answer.StatusCode == http.StatusNotFound {
		return false, nil
	}
	// A page of the web interface is what a path leads to that is taken for another.
	json := strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") || strings.HasPrefix(string(text), "{")
	return json || strings.HasPrefix(string(text), "# "), nil
}
