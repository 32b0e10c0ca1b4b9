package agent

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/standin/internal/generation"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// controlPlane knows one workspace, w1, by the token tos_right.
func controlPlane(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tos_right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"workspaceId":"w1"}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestOptions(t *testing.T) {
	env := map[string]string{"STANDIN_CONTRACT": "e5ea8d0", "WORKSPACE_ID": "w1", "CP_URL": "nap-cp:3000", "WORKSPACE_DIR": "/workspace", "AFS_CONTROLLER": "http://afs:9100"}
	_, err := readOptions(&process.Process{Lookup: func(name string) (string, bool) { value, set := env[name]; return value, set }})
	if err == nil {
		t.Fatal("a wrong environment is accepted")
	}
	for _, want := range []string{"WORKSPACE_TOKEN is not set", "CP_URL " + contract.URL.Check("nap-cp:3000").Error(), "AFS_CONTROLLER " + contract.HostPort.Check("http://afs:9100").Error(), "AFS_FUSE_SERVER is not set"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestBootRefuses(t *testing.T) {
	o := options{who: workspace.Identity{Contract: generation.Newer(), ID: "w1", Token: "tos_right"}, controlPlane: controlPlane(t), dir: t.TempDir()}
	for _, test := range []struct {
		title, want string
		change      func(*options)
	}{
		{"no volume", "the workspace's volume: /nowhere is not writable", func(o *options) { o.dir = "/nowhere" }},
		{"wrong token", "fetch the workspace's skills", func(o *options) { o.who.Token = "tos_wrong" }},
		{"token of another", "the token is that of workspace w1, not w2", func(o *options) { o.who.ID = "w2" }},
	} {
		t.Run(test.title, func(t *testing.T) {
			changed := o
			test.change(&changed)
			if err := changed.boot(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestHealthFollowsTheVolume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "workspace")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	health := func() int {
		answer := httptest.NewRecorder()
		options{dir: dir}.handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/health", nil))
		return answer.Code
	}
	if got := health(); got != http.StatusOK {
		t.Errorf("with a volume: %d", got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := health(); got != http.StatusServiceUnavailable {
		t.Errorf("without a volume: %d", got)
	}
}
