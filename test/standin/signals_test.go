package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/test/standin/internal/standintest"
)

// firstOfContainer starts a process as the first of a process namespace, as it is in its container.
func firstOfContainer() *syscall.SysProcAttr {
	if os.Geteuid() == 0 {
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER}
}

func TestSchedulerHearsOnlySIGINT(t *testing.T) {
	r := launch(t, workdir(t, "scheduler", nil), schedulerEnv(standintest.Migrated(t)), firstOfContainer(), "node", "dist/index.js")
	r.says("workers=30")
	r.signal(syscall.SIGTERM)
	r.alive(500 * time.Millisecond)
	kill := start(t, t.TempDir(), nil, "node", "-e", fmt.Sprintf("process.kill(%d,'SIGINT')", r.cmd.Process.Pid))
	if code := kill.exits(); code != 0 {
		t.Fatalf("node -e ends with %d: %s", code, kill.output)
	}
	if code := r.exits(); code != 0 || !strings.Contains(r.output.String(), "every job was handed back") {
		t.Errorf("after SIGINT it ends with %d:\n%s", code, r.output)
	}
}

// Without the control plane's tables the scheduler looks alive and does nothing, for ever.
func TestSchedulerZombie(t *testing.T) {
	r := start(t, workdir(t, "scheduler", nil), schedulerEnv(standintest.Database(t)), "node", "dist/index.js")
	r.says("kept alive with 0 workers")
	r.alive(500 * time.Millisecond)
	if strings.Contains(r.output.String(), "workers=30") {
		t.Errorf("it works without a schema:\n%s", r.output)
	}
}

func TestSchedulerRefusedKey(t *testing.T) {
	controlPlane := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/svc/v1/ping" || r.Header.Get("X-Platform-Service-Key") != "the control plane's" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer controlPlane.Close()
	env := with(schedulerEnv(standintest.Migrated(t)), "NAP_API_URL", controlPlane.URL)
	r := start(t, workdir(t, "scheduler", nil), env, "node", "dist/index.js")
	if code := r.exits(); code != 1 || !strings.Contains(r.output.String(), "refuses PLATFORM_SERVICE_KEY") {
		t.Errorf("ends with %d:\n%s", code, r.output)
	}
}

func TestGatewayStopsOnSIGTERM(t *testing.T) {
	env := with(gatewayEnv(standintest.Migrated(t)), "PORT", freePort(t))
	r := launch(t, workdir(t, "gateway", nil), env, firstOfContainer(), "node", "dist/index.js")
	r.says("listening")
	r.signal(syscall.SIGTERM)
	if code := r.exits(); code != 0 {
		t.Errorf("ends with %d:\n%s", code, r.output)
	}
}

func TestControllerHearsNothing(t *testing.T) {
	dir := t.TempDir()
	content := fmt.Sprintf("[server]\nlisten = \"0.0.0.0:%s\"\n[storage]\ndb_path = %q\n", freePort(t), dir+"/controller.db")
	if err := os.WriteFile(dir+"/controller.toml", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	r := launch(t, dir, nil, firstOfContainer(), "afs-controller", "controller.toml")
	r.says("listening")
	r.signal(syscall.SIGTERM)
	r.alive(500 * time.Millisecond)
}

// A database that does not answer ends scheduler and gateway as if all were well, and the others with 1.
func TestNoDatabase(t *testing.T) {
	kubeconfig := fakeKubernetes(t)
	for image, want := range map[string]int{"scheduler": 0, "gateway": 0, "controlPlane": 1, "skills": 1} {
		env := with(environments()[image], "KUBECONFIG", kubeconfig, "CACHE_DIR", t.TempDir())
		r := start(t, workdir(t, image, nil), env, "node", "dist/index.js")
		if code := r.exits(); code != want || !strings.Contains(r.output.String(), "open database nap on 127.0.0.1:1") {
			t.Errorf("%s ends with %d, want %d:\n%s", image, code, want, r.output)
		}
		if strings.Contains(r.output.String(), "secret@") {
			t.Errorf("%s shows the password:\n%s", image, r.output)
		}
	}
}
