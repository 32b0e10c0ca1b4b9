//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// session is a logged-in user of the platform, on its real API through the NodePort.
type session struct {
	base   string
	client *http.Client
}

// login signs in as the administrator with the password that the release's Secret holds.
func (r *release) login(t testing.TB) *session {
	t.Helper()
	secret, err := r.client.CoreV1().Secrets(r.namespace).Get(t.Context(), "nap-admin", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{
		base:   fmt.Sprintf("http://%s:30080", r.nodeIP),
		client: &http.Client{Jar: jar, Transport: asker.Transport, Timeout: 10 * time.Second},
	}
	credentials := map[string]string{"username": string(secret.Data["username"]), "password": string(secret.Data["password"])}
	s.do(t, http.MethodPost, "/api/auth/login", credentials, http.StatusOK, nil)
	wrong := map[string]string{"username": credentials["username"], "password": "not-the-password"}
	other := &session{base: s.base, client: &http.Client{Transport: asker.Transport, Timeout: 10 * time.Second}}
	other.do(t, http.MethodPost, "/api/auth/login", wrong, http.StatusUnauthorized, nil)
	return s
}

// do sends one request and decodes its answer into response, if one is given.
func (s *session) do(t testing.TB, method, path string, request any, status int, response any) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	httpRequest, err := http.NewRequestWithContext(t.Context(), method, s.base+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	httpRequest.Header.Set("Content-Type", "application/json")
	answer, err := s.client.Do(httpRequest)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if answer.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, answer.StatusCode, status, text)
	}
	if response == nil {
		return
	}
	if err := json.Unmarshal(text, response); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
}

type workspace struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// createWorkspace asks the control plane for a workspace, waits until its pod is Ready, and tells how long
// that took.
func (r *release) createWorkspace(t testing.TB, s *session, name string) (workspace, time.Duration) {
	t.Helper()
	var created workspace
	s.do(t, http.MethodPost, "/api/workspaces", map[string]string{"name": name, "agentType": "claude-code"}, http.StatusCreated, &created)
	took := r.waitWorkspace(t, created.ID)
	t.Logf("workspace %s: Ready %s after the API call", created.ID, took)
	return created, took
}

// waitWorkspace waits until the workspace's pod is Ready, all three containers of it.
func (r *release) waitWorkspace(t testing.TB, id string) time.Duration {
	t.Helper()
	return eventually(t, 3*time.Minute, "workspace "+id+" Ready", func(ctx context.Context) (bool, string) {
		pods, err := r.client.CoreV1().Pods(r.workspaces()).List(ctx, metav1.ListOptions{LabelSelector: "app=tos,workspace-id=" + id})
		if err != nil {
			return false, err.Error()
		}
		if len(pods.Items) == 0 {
			return false, "it has no pod"
		}
		pod := &pods.Items[0]
		if len(pod.Spec.Containers) != 3 {
			return false, fmt.Sprintf("pod %s has %d containers, want 3", pod.Name, len(pod.Spec.Containers))
		}
		return pod.DeletionTimestamp == nil && podReady(pod), fmt.Sprintf("pod %s is %s", pod.Name, describe(pod))
	})
}

// workspaceNames lists what the control plane knows, read from its database.
func (s *session) workspaceNames(t testing.TB) map[string]string {
	t.Helper()
	var list []workspace
	s.do(t, http.MethodGet, "/api/workspaces", nil, http.StatusOK, &list)
	names := map[string]string{}
	for _, w := range list {
		names[w.ID] = w.Name
	}
	return names
}

func describe(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Waiting != nil && status.State.Waiting.Reason != "ContainerCreating" {
			return fmt.Sprintf("%s: %s %s", status.Name, status.State.Waiting.Reason, status.State.Waiting.Message)
		}
	}
	return string(pod.Status.Phase)
}
