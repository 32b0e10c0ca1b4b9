package main_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/gobuild"
)

// archive packs the plugin as a release does.
func archive(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "helm-neutree-"+declared(t)+".tgz")
	pack := exec.Command("../hack/package-plugin.sh", "linux", "amd64", file)
	pack.Env = append(os.Environ(), "HELM_NEUTREE="+filepath.Join(install(t), "bin", "helm-neutree"))
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("pack: %v\n%s", err, out)
	}
	return file
}

// unpack makes a directory of an archive.
func unpack(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-C", dir, "-xzf", file).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	return dir
}

// helm runs a Helm that knows no other plugins and has no way to the network but to this machine.
func helm(t *testing.T, binary, home string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + home, "HTTPS_PROXY=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestInstallsWithoutNetwork(t *testing.T) {
	packed := archive(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Helm 3 tells an archive by it.
		w.Header().Set("Content-Type", "application/gzip")
		http.ServeFile(w, r, packed)
	}))
	t.Cleanup(server.Close)
	for _, variable := range helms {
		binary := os.Getenv(variable)
		if binary == "" {
			continue
		}
		unverified := []string{}
		if variable == "HELM4" {
			// Nobody has signed this build.
			unverified = append(unverified, "--verify=false")
		}
		for name, source := range map[string]string{"a directory": unpack(t, packed), "an archive": server.URL + "/" + filepath.Base(packed)} {
			t.Run(variable+" from "+name, func(t *testing.T) {
				home := t.TempDir()
				if out, err := helm(t, binary, home, append([]string{"plugin", "install", source}, unverified...)...); err != nil {
					t.Fatalf("install: %v\n%s", err, out)
				}
				if out, err := helm(t, binary, home, "neutree", "version"); err != nil || !strings.HasPrefix(out, declared(t)+" ") {
					t.Errorf("helm neutree version: %v\n%s", err, out)
				}
				// The chart came with it: what fails is to reach a cluster.
				out, err := helm(t, binary, home, "neutree", "preflight", "--kube-apiserver", "http://127.0.0.1:9")
				if err == nil || !strings.Contains(out, "ask the cluster at http://127.0.0.1:9") {
					t.Errorf("helm neutree preflight: %v\n%s", err, out)
				}
				if out, err := helm(t, binary, home, "plugin", "uninstall", "neutree"); err != nil {
					t.Errorf("uninstall: %v\n%s", err, out)
				}
			})
		}
	}
}

func TestInstallHook(t *testing.T) {
	packed := archive(t)
	// go stands for the toolchain: it puts something in the place that it is told.
	toolchain := t.TempDir()
	script := "#!/bin/sh\necho \"$@\" >&2\nwhile [ \"$1\" != -o ]; do shift; done\nprintf '#!/bin/sh\\necho built\\n' >\"$2\"\nchmod 755 \"$2\"\n"
	if err := os.WriteFile(filepath.Join(toolchain, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		env   []string
		path  string
		stale bool
		want  string
		fails bool
	}{
		"built by Go":                {path: toolchain + ":/usr/bin:/bin", want: "built"},
		"taken from an archive":      {path: "/usr/bin:/bin", env: []string{"HELM_NEUTREE_TGZ=" + packed}, want: declared(t) + " ("},
		"neither":                    {path: "/usr/bin:/bin", want: "there is no Go here", fails: true},
		"an older one is built anew": {path: toolchain + ":/usr/bin:/bin", stale: true, want: "built"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, packed)
			binary := filepath.Join(dir, "bin", "helm-neutree")
			if err := os.Remove(binary); err != nil {
				t.Fatal(err)
			}
			if test.stale {
				if err := os.WriteFile(binary, []byte("#!/bin/sh\necho '0.0.1 (go)'\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			hook := exec.Command(filepath.Join(dir, "hack", "install-plugin.sh"))
			hook.Env = append([]string{"PATH=" + test.path, "HELM_PLUGIN_DIR=" + dir}, test.env...)
			out, err := hook.CombinedOutput()
			if (err != nil) != test.fails || !strings.Contains(string(out), test.want) {
				t.Errorf("the hook ended with %v, want %q in\n%s", err, test.want, out)
			}
		})
	}
}

// checkout copies what Go builds the plugin of.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"plugin.yaml", "plugin.complete", "go.mod", "go.sum", "hack/install-plugin.sh"} {
		raw, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), raw, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"plugin", "internal"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join("..", folder))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Each Helm installs a checkout, and Go, not a stand-in of it, builds the binary. The modules are on this machine
// already, and with the flags of everything else so is most of what is compiled.
func TestInstallsFromCheckout(t *testing.T) {
	found, err := exec.Command("go", "env", "GOROOT", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	folders := strings.Fields(string(found))
	toolchain := []string{"PATH=" + filepath.Join(folders[0], "bin") + ":/usr/bin:/bin", "GOCACHE=" + folders[1], "GOMODCACHE=" + folders[2],
		"GOPROXY=off", "GOFLAGS=-mod=readonly " + gobuild.Flags, "GOTOOLCHAIN=local"}
	dir := checkout(t)
	for _, variable := range helms {
		binary := os.Getenv(variable)
		if binary == "" {
			continue
		}
		t.Run(variable, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Join(dir, "bin")); err != nil {
				t.Fatal(err)
			}
			home := t.TempDir()
			install := exec.Command(binary, "plugin", "install", dir)
			install.Env = append([]string{"HOME=" + home}, toolchain...)
			out, err := install.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "building helm neutree "+declared(t)) {
				t.Fatalf("install: %v\n%s", err, out)
			}
			if out, err := helm(t, binary, home, "neutree", "version"); err != nil || !strings.HasPrefix(out, declared(t)+" ") {
				t.Errorf("helm neutree version: %v\n%s", err, out)
			}
		})
	}
}

// The archives of a release hold a binary of their version that Go built for the platform.
func TestArchiveIsBuilt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plugin.tgz")
	pack := exec.Command("../hack/package-plugin.sh", runtime.GOOS, runtime.GOARCH, file)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "HELM_NEUTREE=") {
			pack.Env = append(pack.Env, variable)
		}
	}
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("pack: %v\n%s", err, out)
	}
	dir := unpack(t, file)
	out, err := exec.Command(filepath.Join(dir, "bin", "helm-neutree"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), declared(t)+" ") {
		t.Errorf("version: %v\n%s", err, out)
	}
	for _, part := range []string{"plugin.yaml", "plugin.complete", "LICENSE", "charts/neutree/Chart.yaml", "hack/install-plugin.sh"} {
		if _, err := os.Stat(filepath.Join(dir, part)); err != nil {
			t.Errorf("the archive lacks %s", part)
		}
	}
}
