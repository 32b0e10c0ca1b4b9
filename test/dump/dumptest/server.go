// Package dumptest is a double of the API server of a small cluster whose Secrets have values that no dump may hold.
package dumptest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// Canaries are the values of the cluster's Secrets that nobody may see: a word, lines of a key, and one that is written
// in base64 and for URLs.
func Canaries() []string {
	return []string{
		"canary-password", "Y2FuYXJ5LXBhc3N3b3Jk", "canary/with&signs", "canary%2Fwith%26signs",
		"MIIcanaryLineOfAKey", base64.StdEncoding.EncodeToString([]byte(key)),
	}
}

const key = "-----BEGIN PRIVATE KEY-----\nMIIcanaryLineOfAKey\n-----END PRIVATE KEY-----\n"

// leaky is a log that says what it must not.
var leaky = "starting\nconnect postgres://nap:canary-password@nap-pg/nap\nAuthorization: Basic Y2FuYXJ5LXBhc3N3b3Jk\n" +
	"GET /?q=canary%2Fwith%26signs\n" + key + base64.StdEncoding.EncodeToString([]byte(key)) + "\nadmin is ready\n"

// Leaky is text with every one of the values.
func Leaky() string { return leaky }

type object = map[string]any

func documents() map[string]any {
	secret := object{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": object{"name": "database", "namespace": "nap"},
		"data": object{
			"password": encoded("canary-password"), "odd": encoded("canary/with&signs"), "tls.key": encoded(key),
			"username": encoded("admin-of-the-database"), "short": encoded("nap"),
		},
	}
	pod := object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": "cp", "namespace": "nap", "managedFields": []any{object{"manager": "helm"}}},
		"spec": object{"containers": []any{object{"name": "main", "env": []any{
			object{"name": "URL", "value": "postgres://nap:canary-password@nap-pg/nap"},
			object{"name": "USER", "value": "admin-of-the-database"},
		}}}},
		"status": object{"containerStatuses": []any{object{"name": "main", "containerID": "containerd://1", "restartCount": 2}}},
	}
	event := object{
		"apiVersion": "v1", "kind": "Event", "metadata": object{"name": "e1", "namespace": "nap"}, "type": "Warning", "reason": "Failed",
		"message": "exec probe said canary-password", "involvedObject": object{"kind": "Pod", "namespace": "nap", "name": "cp"},
		"lastTimestamp": "2026-01-02T03:04:05Z",
	}
	resource := func(name, kind string, namespaced bool) object {
		return object{"name": name, "kind": kind, "namespaced": namespaced, "verbs": []any{"list", "get"}}
	}
	version := object{"groupVersion": "apps/v1", "version": "v1"}
	return map[string]any{
		"/api":  object{"kind": "APIVersions", "versions": []any{"v1"}},
		"/apis": object{"kind": "APIGroupList", "groups": []any{object{"name": "apps", "versions": []any{version}, "preferredVersion": version}}},
		"/api/v1": object{"kind": "APIResourceList", "groupVersion": "v1", "resources": []any{
			resource("secrets", "Secret", true), resource("pods", "Pod", true), resource("events", "Event", true), resource("nodes", "Node", false),
		}},
		"/apis/apps/v1":   object{"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": []any{resource("deployments", "Deployment", true)}},
		"/api/v1/secrets": list("Secret", secret), "/api/v1/pods": list("Pod", pod), "/api/v1/events": list("Event", event),
		"/api/v1/nodes":             list("Node", object{"apiVersion": "v1", "kind": "Node", "metadata": object{"name": "node1"}}),
		"/apis/apps/v1/deployments": object{"apiVersion": "apps/v1", "kind": "DeploymentList", "items": []any{}},
	}
}

func encoded(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }

func list(kind string, items ...any) object {
	return object{"apiVersion": "v1", "kind": kind + "List", "metadata": object{"resourceVersion": "1"}, "items": items}
}

// New starts the server for as long as the test runs.
func New(t *testing.T) *rest.Config {
	t.Helper()
	answers := documents()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch answer, known := answers[r.URL.Path]; {
		case strings.HasSuffix(r.URL.Path, "/log"):
			_, _ = w.Write([]byte(leaky))
		case !known || r.URL.Query().Has("sendInitialEvents"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "BadRequest", "code": 400})
		case r.URL.Query().Get("watch") != "":
			w.Header().Set("Content-Type", "application/json")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return &rest.Config{Host: server.URL}
}

// Kubeconfig writes a file that leads to the server.
func Kubeconfig(t *testing.T, config *rest.Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: '" +
		config.Host + "'}}]}"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
