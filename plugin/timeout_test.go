package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// silentCluster writes a kubeconfig for an empty cluster whose API server never answers a question for one path.
func silentCluster(t *testing.T, path string) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", emptyCluster(t))
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, path) {
			select {
			case <-r.Context().Done():
			case <-gone:
			}
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(gone) })
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters: [{name: one, cluster: "+
		"{server: %q}}]\n"+
		"users: [{name: one}]\ncontexts: [{name: one, context: {cluster: one, user: one}}]\n", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A cluster that does not answer must not hold a command longer than it was given, and a pipeline must learn that it
// was the time that ended, wherever the command was by then.
func TestTimeoutEndsCommands(t *testing.T) {
	dir, chart := install(t), requirementtest.Umbrella(t)
	programs := map[string][]string{"alone": {filepath.Join(dir, "bin", "helm-neutree")}}
	for _, name := range helms {
		if helm := os.Getenv(name); helm != "" {
			path, err := filepath.Abs(helm)
			if err != nil {
				t.Fatal(err)
			}
			programs[name] = []string{path, "neutree"}
		}
	}
	for name, c := range map[string]struct {
		silent string
		args   []string
		says   string
	}{
		"preflight, at the first question": {"/version", []string{"preflight", "neutree", chart, "--timeout", "1s"},
			"the deadline passed"},
		"preflight, while it checks": {"/api/v1/nodes", []string{"preflight", "neutree", chart, "--only", "nodes",
			"--no-pods", "--timeout", "8s"},
			"time for all checks is up (--timeout)"},
		"backup list": {"/api/v1/namespaces", []string{"backup", "list", "--timeout", "1s"}, "the deadline passed"},
		"backup create": {"/api/v1/namespaces", []string{"backup", "create", "--timeout", "1s"},
			"the deadline passed"},
		"backup delete": {"/api/v1/namespaces", []string{"backup", "delete", "b1", "--timeout", "1s"},
			"the deadline passed"},
		"backup restore": {"/api/v1/namespaces", []string{"backup", "restore", "b1", "--yes", "--timeout", "1s"},
			"the deadline passed"},
	} {
		for program, command := range programs {
			t.Run(name+"/"+program, func(t *testing.T) {
				t.Parallel()
				// Far more than it takes: only a command that ignores its time gets there.
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], c.args...)...)
				cmd.Env = append(os.Environ(), "KUBECONFIG="+silentCluster(t, c.silent),
					"HELM_PLUGINS="+filepath.Dir(dir))
				var said bytes.Buffer
				cmd.Stdout, cmd.Stderr = &said, &said
				err := cmd.Run()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != 124 {
					t.Errorf("%v, want exit code 124\n%s", err, &said)
				}
				if !strings.Contains(said.String(), c.says) {
					t.Errorf("it does not say %q:\n%s", c.says, &said)
				}
			})
		}
	}
}
