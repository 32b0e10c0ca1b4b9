package rebuild

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}"

// deployment is one whose newest version has updated pods, of two.
func deployment(name string, updated int) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: nap, generation: 3}\n"+
		"spec: {replicas: 2}\nstatus: {observedGeneration: 3, replicas: 2, updatedReplicas: %d, availableReplicas: 2}",
		name, updated)
}

const (
	stale = `{"total":4,"stoppedSkipped":5,"rebuilt":["w1","w2"],"restarted":[],"inSync":1,"skipped":["w4"],"failed":[]}`
	fresh = `{"total":2,"stoppedSkipped":5,"rebuilt":[],"restarted":[],"inSync":2,"skipped":[],"failed":[]}`
	done  = `{"total":4,"stoppedSkipped":5,"rebuilt":["w1"],"restarted":["w3"],"inSync":0,"skipped":["w4"],` +
		`"failed":[{"workspaceId":"w2","error":"no such volume"}]}`
)

// controlPlane answers a dry run and then what is meant, and keeps what it was sent.
type controlPlane struct {
	status       int
	dryRun, real string

	mu   sync.Mutex
	sent []string
}

func (c *controlPlane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("x-plugin-admin-token"), body))
	answer := c.dryRun
	if strings.Contains(string(body), "false") {
		answer = c.real
	}
	if c.status/100 == 3 {
		w.Header().Set("Location", "/login")
	}
	w.WriteHeader(c.status)
	_, _ = io.WriteString(w, answer)
}

// What is stale is rebuilt by one call, and the log says how many are. Whatever fails is a warning.
func TestRun(t *testing.T) {
	const (
		path = "/api/admin/cluster/rebuild-stale"
		look = "POST " + path + ` secret {"dryRun":true}`
		act  = "POST " + path + ` secret {"dryRun":false}`
	)
	for name, tc := range map[string]struct {
		plane   *controlPlane
		updated int
		sent    []string
		result  string
		log     []string
	}{
		"some are stale": {&controlPlane{status: http.StatusMultiStatus, dryRun: stale, real: done}, 2, []string{look, act},
			"1 workspaces are rebuilt and 1 restarted; 5 that are stopped and 1 that are at work were left out", []string{
				"warning: workspaces could not be rebuilt: rebuild them in the web interface (number: 1, workspaces: w2, " +
					"cause: no such volume)\n",
				"warning: workspaces that are at work were left out: rebuild them later, in the web interface (number: 1, " +
					"workspaces: w4)\n",
				"\n1 workspaces are rebuilt and 1 restarted"}},
		// What is up to date would be restarted.
		"none is stale": {&controlPlane{status: http.StatusOK, dryRun: fresh}, 2, []string{look},
			"no workspace has to be rebuilt: 2 are up to date, 5 are stopped and 0 are at work", []string{
				"no workspace has to be rebuilt"}},
		"another token": {&controlPlane{status: http.StatusFound}, 2, []string{look},
			"the upgrade is complete, but running workspaces were not rebuilt", []string{
				"warning: the upgrade is complete, but running workspaces were not rebuilt: rebuild them in the web " +
					"interface, or upgrade again with the same values (cause: the control plane refuses " +
					"PLUGIN_ADMIN_TOKEN (302)"}},
		"an old control plane": {&controlPlane{status: http.StatusNotFound}, 2, []string{look},
			"the upgrade is complete, but running workspaces were not rebuilt", []string{"no call for it (404)"}},
		"the rollout does not end": {&controlPlane{status: http.StatusOK}, 1, nil,
			"the upgrade is complete, but running workspaces were not rebuilt", []string{
				"gave up waiting for the rollout of Deployment nap-env-runner-k8s",
				"1 of 2 pods are of the new version and available"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := kubetest.New(t, namespace, deployment("nap-cp", 2), deployment("nap-env-runner-k8s", tc.updated))
			server := httptest.NewServer(tc.plane)
			defer server.Close()
			var said strings.Builder
			log, err := hook.NewLogger(&said, "plain")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), reserve+2*time.Second)
			defer cancel()
			r := &Rebuild{Log: log, Client: api.Client(), Token: "secret", Spec: hook.RebuildSpec{Namespace: "nap",
				Deployments: []string{"nap-cp", "nap-env-runner-k8s"}, URL: server.URL + path}}
			result, err := r.Run(ctx)
			if err != nil || result != tc.result {
				t.Errorf("%q, %v, want %q", result, err, tc.result)
			}
			if !slices.Equal(tc.plane.sent, tc.sent) {
				t.Errorf("it sent %q, want %q", tc.plane.sent, tc.sent)
			}
			for _, words := range tc.log {
				if !strings.Contains(said.String(), words) {
					t.Errorf("the log does not say %q:\n%s", words, said.String())
				}
			}
			if strings.Contains(said.String(), "secret") {
				t.Errorf("the log has the token:\n%s", said.String())
			}
		})
	}
}

// A control plane that is not there yet is asked again.
func TestAControlPlaneThatStarts(t *testing.T) {
	api := kubetest.New(t, namespace)
	plane := &controlPlane{status: http.StatusOK, dryRun: fresh}
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		plane.ServeHTTP(w, r)
	}))
	defer server.Close()
	r := &Rebuild{Log: slog.New(slog.DiscardHandler), Client: api.Client(), Spec: hook.RebuildSpec{URL: server.URL}}
	if result, err := r.Run(t.Context()); err != nil || !strings.HasPrefix(result, "no workspace has to be rebuilt") {
		t.Errorf("%q, %v", result, err)
	}
}
