package gobuild

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// module writes a module with one main package and returns its directory.
func module(t *testing.T, main string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module example.com/program\n\ngo 1.26\n", "main.go": main} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const printer = "package main\n\nvar word = \"unset\"\n\nfunc main() { print(word) }\n"

func TestBuild(t *testing.T) {
	stamps := map[string]string{"main.word": "stamped"}
	first, err := Program{Dir: module(t, printer), Package: ".", Arch: runtime.GOARCH, Stamps: stamps}.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(binary, first, 0o700); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), binary).CombinedOutput()
	if err != nil || string(said) != "stamped" {
		t.Errorf("the program said %q, %v", said, err)
	}
	second, err := Program{Dir: module(t, printer), Package: ".", Arch: runtime.GOARCH, Stamps: stamps}.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Error("the same source in another directory made another program")
	}
}

func TestBuildShowsTheCompilersWords(t *testing.T) {
	dir := module(t, "package main\n\nfunc main() { nothing() }\n")
	_, err := Program{Dir: dir, Package: ".", Arch: "arm64"}.Build(t.Context())
	for _, want := range []string{"build . for arm64 in " + dir, "undefined: nothing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
