//go:build e2e && gitops

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fluxControllers are Flux's own source-controller and helm-controller, unmodified, as processes of this machine that
// work on the test's cluster, and a chart repository that they fetch the chart from.
type fluxControllers struct {
	source, helm *process
	// repository is the address of the chart repository.
	repository string
}

// startFlux installs the definitions of Flux's resources and starts its controllers. Both are gone after the test.
func (e *environment) startFlux(t *testing.T) *fluxControllers {
	t.Helper()
	for _, dir := range filepath.SplitList(variable(t, "FLUX_CRDS")) {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no CustomResourceDefinitions of Flux in %s: %v", dir, err)
		}
		for _, file := range files {
			e.applyFile(t, file)
		}
	}
	dir := t.TempDir()
	storage := filepath.Join(dir, "storage")
	if err := os.Mkdir(storage, 0o755); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	// Neither metrics nor health are asked for; a second testbed's controllers would want the same ports.
	common := []string{"--metrics-addr=0", "--health-addr=0", "--log-level=debug", "--watch-all-namespaces"}
	c := &fluxControllers{
		repository: e.serveCharts(t),
		source: &process{
			path: variable(t, "FLUX_SOURCE_CONTROLLER"), log: filepath.Join(dir, "source-controller.log"),
			args: append(common, "--storage-path="+storage, "--storage-addr="+address, "--storage-adv-addr="+address),
		},
		helm: &process{
			path: variable(t, "FLUX_HELM_CONTROLLER"), log: filepath.Join(dir, "helm-controller.log"), args: common,
		},
	}
	for _, p := range []*process{c.source, c.helm} {
		p.start(t)
		t.Cleanup(func() {
			p.kill(t)
			if t.Failed() {
				t.Logf("last lines of %s:\n%s", filepath.Base(p.log), p.tail(t))
			}
		})
	}
	return c
}

// serveCharts serves the chart, and CloudNativePG's by itself, as a chart repository does.
func (e *environment) serveCharts(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	for _, args := range [][]string{
		{"package", e.chart, "--destination", dir},
		{"package", filepath.Join(e.chart, "charts", "cloudnative-pg"), "--destination", dir},
		{"repo", "index", dir, "--url", server.URL},
	} {
		if output, err := exec.CommandContext(t.Context(), e.helm4, args...).CombinedOutput(); err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
	return server.URL
}

// freeAddress is an address of the loopback interface that nothing listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// process is a program that runs until it is killed, and never longer than the test.
type process struct {
	path, log string
	args      []string
	command   *exec.Cmd
	ended     chan struct{}
}

func (p *process) start(t *testing.T) {
	t.Helper()
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p.command = exec.Command(p.path, p.args...)
	p.command.Env = append(os.Environ(), "RUNTIME_NAMESPACE=flux-system", "TUF_ROOT="+filepath.Dir(p.log))
	p.command.Stdout, p.command.Stderr = output, output
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		// Linux ends the program with the thread that started it.
		runtime.LockOSThread()
		defer close(p.ended)
		defer output.Close()
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", p.path, err)
	}
}

// kill ends the program without a chance to finish anything, as the loss of its node does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
		t.Errorf("%s ended by itself:\n%s", p.path, p.tail(t))
		return
	default:
	}
	if err := p.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not end", p.path)
	}
}

func (p *process) text(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func (p *process) tail(t *testing.T) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(p.text(t)), "\n")
	var short []string
	for _, line := range lines[max(0, len(lines)-25):] {
		short = append(short, fmt.Sprintf("%.600s", line))
	}
	return strings.Join(short, "\n")
}
