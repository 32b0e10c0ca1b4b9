package hooksimage

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/neutree-ai/packaging/internal/ociimage"
)

// maxSize is what the whole image may weigh unpacked.
const maxSize = 28_000_000

func TestPublishedImage(t *testing.T) {
	index, err := BuildIndex(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New())
	defer server.Close()
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/team/nap-hooks:test")
	if err != nil {
		t.Fatal(err)
	}
	if err := ociimage.Push(t.Context(), tag, index); err != nil {
		t.Fatal(err)
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run(arch, func(t *testing.T) {
			image, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
			if err != nil {
				t.Fatal(err)
			}
			file, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if file.Architecture != arch || file.Config.User != "65532:65532" {
				t.Errorf("it is for %s and runs as %q", file.Architecture, file.Config.User)
			}
			if diff := cmp.Diff([]string{"/nap-hooks"}, file.Config.Entrypoint); diff != "" {
				t.Errorf("entrypoint (-want +got):\n%s", diff)
			}
			binary := checkContents(t, image, machine)
			// One for another machine can't be asked.
			if arch == runtime.GOARCH {
				checkVersion(t, binary)
			}
		})
	}
}

// checkContents looks for one static program for machine and nothing else, and returns it.
func checkContents(t *testing.T, image v1.Image, machine elf.Machine) []byte {
	t.Helper()
	content := mutate.Extract(image)
	defer content.Close()
	archive := tar.NewReader(content)
	header, err := archive.Next()
	if err != nil {
		t.Fatal(err)
	}
	if header.Name != "nap-hooks" || header.Mode != 0o755 {
		t.Errorf("the image holds %s with mode %o", header.Name, header.Mode)
	}
	if header.Size >= maxSize {
		t.Errorf("the program has %d bytes, the limit is %d", header.Size, maxSize)
	}
	binary, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	program, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if program.Machine != machine {
		t.Errorf("the program is for %s, want %s", program.Machine, machine)
	}
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program is not static: %v, %v", libraries, err)
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the image holds more than the program: %v", err)
	}
	return binary
}

// checkVersion asks the program for its version.
func checkVersion(t *testing.T, binary []byte) {
	t.Helper()
	want, err := Version("../..")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "nap-hooks")
	if err := os.WriteFile(program, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command(program, "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(got), "nap-hooks version "+want+" ") {
		t.Errorf("the program says %q, %v, want version %s", got, err, want)
	}
}

func TestVersion(t *testing.T) {
	for name, test := range map[string]struct {
		manifest, want, problem string
	}{
		"named":     {manifest: "name: neutree\nversion: \"1.2.3\"\n", want: "1.2.3"},
		"missing":   {manifest: "name: neutree\n", problem: "has no version"},
		"no yaml":   {manifest: "\tversion", problem: "find the project's version in"},
		"no plugin": {problem: "plugin.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if test.manifest != "" {
				if err := os.WriteFile(filepath.Join(root, "plugin.yaml"), []byte(test.manifest), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Version(root)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (err == nil) != (test.problem == "") || (err != nil && !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("got %v, want %q in it", err, test.problem)
			}
		})
	}
}
