package main_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
	cmd := exec.Command(binary, args...)
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
