package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/test/standin/internal/standintest"
)

// TestMain plays a stand-in when the test binary is started under the name of one.
func TestMain(m *testing.M) {
	if _, known := programs()[filepath.Base(os.Args[0])]; known {
		main()
	}
	os.Exit(m.Run())
}

// image is what the tests need of an entry in images.yaml.
type image struct {
	Image      string            `json:"image"`
	Workdir    string            `json:"workdir"`
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd"`
	Env        map[string]string `json:"env"`
	Links      map[string]string `json:"links"`
	Files      map[string]string `json:"files"`
	Variants   []variant         `json:"variants"`
}

// variant is another tag of an image.
type variant struct {
	Tag   string            `json:"tag"`
	Env   map[string]string `json:"env"`
	Files map[string]string `json:"files"`
}

func images(t testing.TB) map[string]image {
	t.Helper()
	content, err := os.ReadFile("images.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []image
	if err := yaml.Unmarshal(content, &list); err != nil {
		t.Fatal(err)
	}
	byName := map[string]image{}
	for _, one := range list {
		byName[one.Image] = one
	}
	return byName
}

// workdir lays out the files of an image and returns its working directory.
func workdir(t testing.TB, name string, changes map[string]string) string {
	t.Helper()
	one, known := images(t)[name]
	if !known {
		t.Fatalf("images.yaml has no %s", name)
	}
	root := t.TempDir()
	for _, files := range []map[string]string{one.Files, changes} {
		for target, source := range files {
			copyTo(t, source, filepath.Join(root, target))
		}
	}
	return filepath.Join(root, one.Workdir)
}

func copyTo(t testing.TB, source, target string) {
	t.Helper()
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		if err := os.CopyFS(target, os.DirFS(source)); err != nil {
			t.Fatal(err)
		}
		return
	}
	content, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// running is a stand-in in a process of its own.
type running struct {
	t      testing.TB
	cmd    *exec.Cmd
	output *buffer
	done   chan struct{}
}

// buffer is output that is read while it is written.
type buffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

func start(t testing.TB, dir string, env map[string]string, args ...string) *running {
	t.Helper()
	return launch(t, dir, env, nil, args...)
}

func launch(t testing.TB, dir string, env map[string]string, attr *syscall.SysProcAttr, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, output: &buffer{}, done: make(chan struct{})}
	r.cmd = &exec.Cmd{Path: self, Args: args, Dir: dir, Stdout: r.output, Stderr: r.output, SysProcAttr: attr, Env: []string{}}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		r.cmd.Env = append(r.cmd.Env, name+"="+env[name])
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
	})
	return r
}

// exits waits for the end and returns the exit code, -1 for a signal.
func (r *running) exits() int {
	r.t.Helper()
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		r.t.Fatalf("%q still runs:\n%s", r.cmd.Args, r.output)
		return 0
	}
}

// says waits until the output contains a text.
func (r *running) says(text string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%q says %q", r.cmd.Args, text), func() error {
		if strings.Contains(r.output.String(), text) {
			return nil
		}
		select {
		case <-r.done:
			r.t.Fatalf("%q ended:\n%s", r.cmd.Args, r.output)
		default:
		}
		return errors.New(r.output.String())
	})
}

func (r *running) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// alive fails the test if the process ends within a time.
func (r *running) alive(within time.Duration) {
	r.t.Helper()
	select {
	case <-r.done:
		r.t.Fatalf("%q ended with %d:\n%s", r.cmd.Args, r.cmd.ProcessState.ExitCode(), r.output)
	case <-time.After(within):
	}
}

func eventually(t testing.TB, what string, condition func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not in time: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort is a port that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// settings are the workspace settings that control plane and runner share.
func settings() map[string]string {
	return map[string]string{
		"STANDIN_CONTRACT": "e5ea8d0",
		"K8S_NAMESPACE":    "nap-workspaces", "CP_SERVICE_URL": "http://nap-cp.nap.svc:3000",
		"AGENT_IMAGE_PREFIX": "ghcr.io/neutree-ai/agent-platform/nap-agent", "AGENT_IMAGE_TAG": "v0.2.0",
		"AGENT_STORAGE_CLASS": "local-path", "AGENT_NODE_SELECTOR": "", "WORKSPACE_STORAGE_SIZE": "10Gi",
		"AFS_ENABLED": "true", "AFS_IMAGE": "ghcr.io/neutree-ai/afs:latest", "AFS_CONTROLLER_ADDR": "afs-controller.nap.svc:9100",
		"AFS_STORAGE_PVC": "afs-shared-storage", "AFS_CONFIGMAP": "afs-fuse-config",
		"MEMORY_FUSE_IMAGE": "ghcr.io/neutree-ai/agent-platform/nap-memory-fuse:v0.2.0",
	}
}

// with returns a copy of env with other values.
func with(env map[string]string, changes ...string) map[string]string {
	changed := maps.Clone(env)
	for i := 0; i < len(changes); i += 2 {
		changed[changes[i]] = changes[i+1]
	}
	return changed
}

func without(env map[string]string, name string) map[string]string {
	changed := maps.Clone(env)
	delete(changed, name)
	return changed
}

func controlPlaneEnv(database string) map[string]string {
	env := settings()
	maps.Copy(env, map[string]string{
		"DATABASE_URL": database, "JWT_SECRET": "jwt-secret-of-the-test", "CREDENTIAL_ENCRYPTION_KEY": "encryption-key-of-the-test",
		"PLATFORM_SERVICE_KEY": "service-key-of-the-test", "CG_URL": "http://nap-cg:3002", "SKILLS_CONTENT_URL": "http://nap-skills:3008",
		"OFFICE_CONVERTER_URL": "http://nap-office-converter:3007", "WEB_PUBLIC_URL": "http://localhost:30080", "FILES_PUBLIC_URL": "http://files.localhost:30080",
	})
	return env
}

func gatewayEnv(database string) map[string]string {
	return map[string]string{"DATABASE_URL": database, "JWT_SECRET": "jwt-secret-of-the-test", "NAP_API_URL": "http://127.0.0.1:1"}
}

func schedulerEnv(database string) map[string]string {
	return map[string]string{
		"STANDIN_CONTRACT": "e5ea8d0", "DATABASE_URL": database, "NAP_API_URL": "http://127.0.0.1:1", "CG_API_URL": "http://127.0.0.1:1",
		"PLATFORM_SERVICE_KEY": "service-key-of-the-test",
	}
}

// seedAdmin makes the administrator admin with the password s3cret-enough.
func seedAdmin(t testing.TB, database string) {
	t.Helper()
	r := start(t, workdir(t, "controlPlane", nil), map[string]string{"DATABASE_URL": database},
		"node", "dist/seed-admin.js", "--username", "admin", "--password", "s3cret-enough", "--display-name", "Ada")
	if code := r.exits(); code != 0 {
		t.Fatalf("seed-admin ends with %d:\n%s", code, r.output)
	}
}

func count(t testing.TB, database, sql string) int {
	t.Helper()
	var n int
	if err := standintest.Pool(t, database).QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
