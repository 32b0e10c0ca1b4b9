package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	// crowd is how many workspaces a large installation has.
	crowd = 10_000
	// memoryLimit is the default of global.hooks.resources.limits.memory, in KiB.
	memoryLimit = 128 << 10
	// commandLine is set where this test runs as nap-hooks.
	commandLine = "NAP_HOOKS_TEST_COMMAND_LINE"
	// statusFile is where it leaves the kernel's figures of it then.
	statusFile = "NAP_HOOKS_TEST_STATUS_FILE"
)

// asWorkspace is a Deployment as large as one that the platform makes.
func asWorkspace(replicas int, annotations string) string {
	var env strings.Builder
	for i := range 100 {
		fmt.Fprintf(&env, "          - {name: VARIABLE_%d, value: %q}\n", i, strings.Repeat("x", 60))
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos, namespace: ws, labels: {app: tos}, annotations: {%s}}
spec:
  replicas: %d
  template:
    spec:
      containers:
        - name: workspace
          env:
%s`, annotations, replicas, env.String())
}

const ofAll = `
apiVersion: v1
kind: Namespace
metadata: {name: nap}
---
apiVersion: v1
kind: Namespace
metadata:
  name: ws
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: neutree, meta.helm.sh/release-namespace: nap}
---
apiVersion: v1
kind: Secret
metadata:
  name: sh.helm.release.v1.neutree.v1
  namespace: nap
  labels: {owner: helm, name: neutree, status: uninstalling}
`

// TestCrowd shows that memory does not grow with the number of workspaces: the kernel ends a hook at its limit, and
// with it the install or the uninstall.
func TestCrowd(t *testing.T) {
	if line := os.Getenv(commandLine); line != "" {
		code := run(t.Context(), strings.Split(line, " "), os.Stdout, os.Stderr)
		status, err := os.ReadFile("/proc/self/status")
		if err == nil {
			err = os.WriteFile(os.Getenv(statusFile), status, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		os.Exit(code)
	}
	claim := "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: tos, namespace: ws, labels: {app: tos}}\n"
	for name, tc := range map[string]struct {
		spec string
		want []string
	}{
		"teardown": {
			spec: "{namespace: nap, release: neutree, workspaces: {namespace: ws}}",
			want: []string{"10000 workspaces stopped; kept: PersistentVolumeClaim ws/tos-0, ",
				", 9980 more PersistentVolumeClaims in namespace ws"},
		},
		"delete": {
			spec: "{namespace: nap, release: neutree, workspaces: {namespace: ws, created: true}}",
			want: []string{`"deleted","object":"Namespace ws"`, `"stays","object":"PersistentVolume pv-0, whose policy`,
				`"9980 more PersistentVolumes whose policy is Retain: kubectl get persistentvolumes shows them as Released"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := kubetest.New(t, ofAll)
			server.Crowd(crowd, asWorkspace(1, ""))
			server.Crowd(crowd, claim)
			server.Crowd(crowd, "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv}\n"+
				"spec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: ws, name: tos}}\n")
			printed, memory := asProgram(t, server, name, tc.spec)
			for _, want := range tc.want {
				if !strings.Contains(printed, want) {
					t.Errorf("it printed\n%s\nwhich lacks %q", printed, want)
				}
			}
			t.Logf("%s of %d workspaces took %d MiB", name, crowd, memory>>10)
			if memory > memoryLimit {
				t.Errorf("it took %d KiB of memory, more than the %d that it has", memory, memoryLimit)
			}
			for _, list := range server.Lists() {
				if list.Limit == 0 || list.Limit > kube.PageSize || list.Items > list.Limit {
					t.Errorf("a list that is not paged: %+v", list)
				}
			}
		})
	}
}

// asProgram runs a command in a process of its own, and returns what it printed and the most memory it had, in KiB.
// That is the process's own VmHWM: its rusage counts the memory of the process that started it too.
func asProgram(t *testing.T, server *kubetest.Server, command, spec string) (printed string, memory int64) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"spec.yaml": spec,
		"kubeconfig": fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: double
contexts: [{name: double, context: {cluster: double}}]
clusters: [{name: double, cluster: {server: %q}}]
`, server.Config().Host),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestCrowd$")
	figures := filepath.Join(dir, "status")
	cmd.Env = append(os.Environ(), "GOGC=100", "KUBECONFIG="+filepath.Join(dir, "kubeconfig"), statusFile+"="+figures, commandLine+"="+
		strings.Join([]string{command, "--spec", filepath.Join(dir, "spec.yaml"), "--timeout=10m"}, " "))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	status, err := os.ReadFile(figures)
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(peak, &memory); err != nil {
		t.Fatalf("%v in %s", err, status)
	}
	return string(out), memory
}
