//go:build helm

package helm_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

var update = flag.Bool("update", false, "write the golden files")

// hookLog is what a hook logs that is refused, as the chart's Jobs do.
func hookLog(t *testing.T) string {
	t.Helper()
	var log bytes.Buffer
	o := hook.Options{LogFormat: "plain"}
	logger, err := hook.NewLogger(&log, o.LogFormat)
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("StorageClass found", "purpose", "PostgreSQL", "class", "standard")
	logger.Warn("the version of Kubernetes can't be read", "version", `"1.3x"`)
	o.Finish(hook.Refuse(
		finding.Finding{ID: finding.UpgradeRename, Found: `global.namePrefix was "nap" and would become "acme"`,
			Why: "existing data would be left under the old name", Fix: "restore the old value"},
		finding.Finding{ID: finding.StorageClass, Found: "no StorageClass is the default",
			Fix: "set global.database.cnpg.storage.storageClass"},
	), &log)
	return log.String()
}

// Each version of Helm prints the log of a hook that failed so that a person can read it: plain words, a line for each
// event, or, by Helm 4, all lines in one.
func TestHelmPrintsTheLogOfAHook(t *testing.T) {
	log := hookLog(t)
	for name, golden := range map[string]string{
		"HELM318": "hook-log-helm-3.txt", "HELM3": "hook-log-helm-3.txt", "HELM4": "hook-log-helm-4.txt",
	} {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewServer(&hookAPI{t: t, log: log, job: map[string]any{}})
			defer api.Close()
			config := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(config, []byte(kubeconfig(api.URL)), 0o600); err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), variable(t, name), "test", "neutree", "--namespace", "nap",
				"--kubeconfig", config, "--timeout", "20s")
			command.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(),
				"HELM_DATA_HOME="+t.TempDir(), "HOME="+t.TempDir())
			output, err := command.CombinedOutput()
			var failed *exec.ExitError
			if !errors.As(err, &failed) {
				t.Fatalf("helm test: %v\n%s", err, output)
			}
			got, golden := printedBefore(string(output)), filepath.Join("testdata", golden)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s prints the log otherwise than %s (-want +got):\n%s", name, golden, diff)
			}
		})
	}
}

// printedBefore is what helm test prints before its report, without the lines of the library by which it asks.
func printedBefore(output string) string {
	log, _, _ := strings.Cut(output, "NAME: neutree\n")
	var lines []string
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "reflector.go:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func kubeconfig(server string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
current-context: c
`, server)
}

const hookJob = `apiVersion: batch/v1
kind: Job
metadata: {name: nap-test, namespace: nap}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: test, image: i}]}}}
`

// record is a release with one hook, as Helm keeps it.
func record(t *testing.T) map[string]any {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"name": "neutree", "namespace": "nap", "version": 1, "manifest": "",
		"info":  map[string]any{"status": "deployed", "last_deployed": "2026-01-01T00:00:00Z"},
		"chart": map[string]any{"metadata": map[string]any{"name": "neutree", "version": "0.1.0", "apiVersion": "v2"}},
		"hooks": []any{map[string]any{"name": "nap-test", "kind": "Job", "path": "job.yaml", "manifest": hookJob,
			"events": []string{"test"}, "delete_policies": []string{"before-hook-creation"},
			"output_log_policies": []string{"hook-failed"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(packed.Bytes())
	return map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
		"metadata": map[string]any{"name": "sh.helm.release.v1.neutree.v1", "namespace": "nap", "resourceVersion": "1",
			"labels": map[string]string{"name": "neutree", "owner": "helm", "status": "deployed", "version": "1"}},
		"data": map[string]string{"release": base64.StdEncoding.EncodeToString([]byte(text))},
	}
}

// hookAPI is as much of an API server as helm test asks for. A Job that is made has failed at once.
type hookAPI struct {
	t   *testing.T
	log string

	mu  sync.Mutex
	job map[string]any
}

func (a *hookAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	list := func(apiVersion, kind string, items ...any) {
		if r.URL.Query().Get("watch") != "" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			a.mu.Unlock()
			<-r.Context().Done()
			a.mu.Lock()
			return
		}
		if items == nil {
			items = []any{}
		}
		answer(http.StatusOK, map[string]any{"apiVersion": apiVersion, "kind": kind,
			"metadata": map[string]any{"resourceVersion": "1"}, "items": items})
	}
	resources := func(group string, names ...string) {
		var all []any
		for _, name := range names {
			kind := strings.ToUpper(name[:1]) + strings.TrimSuffix(name[1:], "s")
			all = append(all, map[string]any{"name": name, "singularName": "", "namespaced": true, "kind": kind,
				"verbs": []string{"get", "list", "watch", "create", "delete", "update", "patch"}})
		}
		answer(http.StatusOK, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group,
			"resources": all})
	}
	notFound := func() {
		answer(http.StatusNotFound, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure",
			"reason": "NotFound", "code": 404, "message": "not found"})
	}
	batch := map[string]any{"groupVersion": "batch/v1", "version": "v1"}
	const jobs, job = "/apis/batch/v1/namespaces/nap/jobs", "/apis/batch/v1/namespaces/nap/jobs/nap-test"
	switch path := r.URL.Path; {
	case r.URL.Query().Get("sendInitialEvents") != "":
		// Clients list then, as with an older API server.
		answer(http.StatusUnprocessableEntity, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure",
			"reason": "Invalid", "code": http.StatusUnprocessableEntity, "message": "sendInitialEvents is forbidden"})
	case path == "/openapi/v3":
		answer(http.StatusOK, map[string]any{"paths": map[string]any{
			"apis/batch/v1": map[string]any{"serverRelativeURL": "/openapi/v3/apis/batch/v1"}}})
	case path == "/openapi/v3/apis/batch/v1":
		// The server validates fields, so that Helm need not.
		answer(http.StatusOK, map[string]any{"openapi": "3.0.0", "info": map[string]any{"title": "t", "version": "v"},
			"paths": map[string]any{job: map[string]any{"patch": map[string]any{
				"parameters":                      []any{map[string]any{"name": "fieldValidation", "in": "query"}},
				"x-kubernetes-group-version-kind": map[string]any{"group": "batch", "kind": "Job", "version": "v1"},
			}}}})
	case path == "/version":
		answer(http.StatusOK, map[string]any{"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
	case path == "/api":
		answer(http.StatusOK, map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
	case path == "/apis":
		answer(http.StatusOK, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{
			map[string]any{"name": "batch", "versions": []any{batch}, "preferredVersion": batch}}})
	case path == "/api/v1":
		resources("v1", "pods", "secrets")
	case path == "/apis/batch/v1":
		resources("batch/v1", "jobs")
	case path == "/api/v1/namespaces/nap/secrets" && r.Method == http.MethodGet:
		list("v1", "SecretList", record(a.t))
	case strings.HasPrefix(path, "/api/v1/namespaces/nap/secrets/"):
		answer(http.StatusOK, record(a.t))
	case path == jobs && r.Method == http.MethodPost, path == job && r.Method == http.MethodPatch:
		a.job = map[string]any{
			"apiVersion": "batch/v1", "kind": "Job",
			"metadata": map[string]any{"name": "nap-test", "namespace": "nap", "uid": "u", "resourceVersion": "2",
				"creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1},
			"spec": map[string]any{"template": map[string]any{}},
			"status": map[string]any{"failed": 1, "startTime": "2026-01-01T00:00:00Z", "conditions": []any{
				map[string]any{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit 10"}}},
		}
		answer(http.StatusCreated, a.job)
	case path == jobs && len(a.job) > 0:
		list("batch/v1", "JobList", a.job)
	case path == jobs:
		list("batch/v1", "JobList")
	case path == job && r.Method == http.MethodGet && len(a.job) > 0:
		answer(http.StatusOK, a.job)
	case strings.HasSuffix(path, "/pods"):
		list("v1", "PodList", map[string]any{"metadata": map[string]any{"name": "nap-test-x", "namespace": "nap"},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "test"}}}})
	case strings.HasSuffix(path, "/pods/nap-test-x/log"):
		_, _ = io.WriteString(w, a.log)
	default:
		notFound()
	}
}
