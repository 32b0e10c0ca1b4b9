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

func TestKeptProgramIsLinkedAgainAfterAChangeOnly(t *testing.T) {
	program := Program{Dir: module(t, printer), Package: ".", Arch: runtime.GOARCH, Keep: t.TempDir()}
	build := func() (content string, kept os.FileInfo) {
		t.Helper()
		built, err := program.Build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(program.Keep)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%s holds %v, %v; want the program alone", program.Keep, entries, err)
		}
		if kept, err = entries[0].Info(); err != nil {
			t.Fatal(err)
		}
		return string(built), kept
	}
	first, kept := build()
	same, still := build()
	// Go sets its time as if it were new, but another program would be another file.
	if same != first || !os.SameFile(kept, still) {
		t.Error("the program was linked again without a change")
	}
	program.Stamps = map[string]string{"main.word": "other"}
	if changed, other := build(); changed == first || os.SameFile(kept, other) {
		t.Error("a change made the same program")
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
