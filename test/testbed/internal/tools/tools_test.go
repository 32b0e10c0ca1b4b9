package tools

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
)

// bench is a builder whose module of the default Kubernetes holds tiny programs, and its log.
func bench(t *testing.T) (builder, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	b := builder{log: slog.New(slog.NewTextHandler(log, nil)), sources: t.TempDir(), cache: t.TempDir()}
	edit(t, b, "go.mod", "module example.com/kubernetes\n\ngo 1.26\n")
	edit(t, b, "go.sum", "")
	edit(t, b, "etcd/main.go", "package main\n\nfunc main() { print(\"first\") }\n")
	edit(t, b, "kubernetes/main.go", `package main

import (
	"os"
	"path/filepath"
)

func main() { print(filepath.Base(os.Args[0])) }
`)
	return b, log
}

func edit(t *testing.T, b builder, name, content string) {
	t.Helper()
	path := filepath.Join(b.sources, "kubernetes-1.34", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func build(t *testing.T, b builder) string {
	t.Helper()
	paths, err := b.build(t.Context(), []string{"etcd"})
	if err != nil {
		t.Fatal(err)
	}
	return paths["etcd"]
}

// What is stubbed is compiled from the stub, the rest of its module from what its authors wrote.
func TestStubs(t *testing.T) {
	b, _ := bench(t)
	library := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":       "module example.com/library\n\ngo 1.26\n",
		"a/a.go":       "package a\n\nconst Says = \"a\"\n",
		"b/b.go":       "package b\n\nconst Says = missing\n",
		"b/below/c.go": "package below\n\nconst Says = \"c\"\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(library, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(library, name), []byte(content), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	edit(t, b, "go.mod", "module example.com/kubernetes\n\ngo 1.26\n\nrequire example.com/library v0.0.0\n\n"+
		"replace example.com/library => "+library+"\n")
	edit(t, b, "etcd/main.go", "package main\n\nimport (\n\t\"example.com/library/a\"\n\t\"example.com/library/b\"\n"+
		"\t\"example.com/library/b/below\"\n)\n\nfunc main() { print(a.Says, b.Says, below.Says) }\n")
	edit(t, b, "stubs/b.go", "package b\n\nconst Says = \"stub\"\n")
	m := module{
		dir: "kubernetes-1.34", title: "a tool", programs: map[string]string{"etcd": "./etcd"},
		stubs: map[string]string{"example.com/library/b": "stubs"},
	}
	paths := map[string]string{}
	if err := b.module(t.Context(), m, []string{"etcd"}, paths); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), paths["etcd"]).CombinedOutput()
	if err != nil || string(said) != "astubc" {
		t.Errorf("the tool said %q, %v", said, err)
	}
	m.stubs = map[string]string{"example.com/library/none": "stubs"}
	edit(t, b, "stubs/b.go", "package b\n")
	if err := b.module(t.Context(), m, []string{"etcd"}, paths); err == nil ||
		!strings.Contains(err.Error(), "find package example.com/library/none, which is to be stubbed") {
		t.Errorf("a package that is not there: %v", err)
	}
}

func TestToolIsBuiltOnce(t *testing.T) {
	b, log := bench(t)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if _, err := b.build(t.Context(), []string{"etcd"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if count := strings.Count(log.String(), "building Kubernetes"); count != 1 {
		t.Errorf("built %d times:\n%s", count, log)
	}
	said, err := exec.CommandContext(t.Context(), build(t, b)).CombinedOutput()
	if err != nil || string(said) != "first" {
		t.Errorf("the tool said %q, %v", said, err)
	}
}

func TestToolFollowsItsSource(t *testing.T) {
	b, _ := bench(t)
	seen := []string{build(t, b)}
	for _, change := range []struct{ file, content string }{
		{"etcd/main.go", "package main\n\nfunc main() { print(\"second\") }\n"},
		{"go.mod", "module example.com/kubernetes\n\ngo 1.26.0\n"},
		{"go.sum", "example.com/other v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"},
	} {
		edit(t, b, change.file, change.content)
		path := build(t, b)
		if slices.Contains(seen, path) {
			t.Errorf("a change of %s built no new tool", change.file)
		}
		seen = append(seen, path)
	}
}

func TestKeyCoversTheFlags(t *testing.T) {
	b, _ := bench(t)
	plain := module{dir: "kubernetes-1.34"}
	stamped := module{dir: "kubernetes-1.34", ldflags: []string{"-X", "main.version=1"}}
	keys := map[string]bool{}
	for _, m := range []module{plain, stamped} {
		key, err := b.key(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = true
	}
	if len(keys) != 2 {
		t.Error("other linker flags made the same key")
	}
}

func TestFailedBuildShowsTheCompilersWordsAndLeavesNothing(t *testing.T) {
	b, _ := bench(t)
	edit(t, b, "etcd/main.go", "package main\n\nfunc main() { nothing() }\n")
	_, err := b.build(t.Context(), []string{"etcd"})
	for _, want := range []string{"build Kubernetes 1.34.4", filepath.Join(b.sources, "kubernetes-1.34"), "undefined: nothing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	left, err := filepath.Glob(filepath.Join(b.cache, "kubernetes-*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the failed build left %v, %v", left, err)
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	b, _ := bench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.build(ctx, []string{"etcd"}); err == nil {
		t.Error("a build whose context is over succeeded")
	}
}

func TestUnknownToolIsNamed(t *testing.T) {
	b, _ := bench(t)
	_, err := b.build(t.Context(), []string{"etcd", "kubernetes-1.99/kubelet"})
	for _, want := range []string{`"kubernetes-1.99/kubelet"`, "kubernetes-1.34/kubelet", "helm-4"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestOneProgramGoesByManyNames(t *testing.T) {
	b, log := bench(t)
	names := []string{"kubernetes-1.34/kubelet", "kubernetes-1.34/kube-proxy", "etcd"}
	paths, err := b.build(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kubernetes-1.34/kubelet": "kubelet", "kubernetes-1.34/kube-proxy": "kube-proxy", "etcd": "first",
	} {
		said, err := exec.CommandContext(t.Context(), paths[name]).CombinedOutput()
		if err != nil || string(said) != want {
			t.Errorf("%s said %q, %v; want %q", name, said, err, want)
		}
	}
	if count := strings.Count(log.String(), "building "); count != 1 {
		t.Errorf("programs of one module were built in %d steps:\n%s", count, log)
	}
	one, err := os.Stat(paths[names[0]])
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Stat(paths[names[1]])
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(one, other) {
		t.Errorf("%s and %s are two files", names[0], names[1])
	}
	log.Reset()
	if _, err := b.build(t.Context(), []string{"kubectl"}); err != nil || log.Len() > 0 {
		t.Errorf("another name of a program that is there was built again: %v\n%s", err, log)
	}
}

func TestAnotherModuleIsBuiltMeanwhile(t *testing.T) {
	b, _ := bench(t)
	unlock, err := cache.Lock(t.Context(), b.cache, clients)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	build(t, b)
}

func TestProgramsOfOneModuleAreBuiltTogether(t *testing.T) {
	selections, err := wanted([]string{"kubernetes-1.34/kubelet", "helm-4", "kubernetes-1.34/kube-proxy", "etcd", "helm-4"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, s := range selections {
		got[s.dir] = s.names
	}
	want := map[string][]string{
		"kubernetes-1.34": {"etcd", "kubernetes-1.34/kube-proxy", "kubernetes-1.34/kubelet"}, "clients": {"helm-4"},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(selections) != 2 {
		t.Errorf("%d selections, tools by module (-want +got):\n%s", len(selections), diff)
	}
	if diff := cmp.Diff([]string{"./etcd", "./kubernetes"}, selections[0].packages(selections[0].names)); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}

// TestModulesPinTheirTools asks the real modules for what the catalogue builds from them.
func TestModulesPinTheirTools(t *testing.T) {
	for _, m := range catalogue() {
		t.Run(m.title, func(t *testing.T) {
			b := builder{sources: "../../tools"}
			packages := m.packages(slices.Collect(maps.Keys(m.programs)))
			args := append([]string{"list", "-f", "{{.Name}}"}, packages...)
			// What go downloads the first time it tells on the standard error.
			var talk strings.Builder
			command := b.goCommand(t.Context(), filepath.Join(b.sources, m.dir), args...)
			command.Stderr = &talk
			output, err := command.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, talk.String())
			}
			want := strings.Repeat("main\n", len(packages))
			if diff := cmp.Diff(want, string(output)); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
			pinned, err := os.ReadFile(filepath.Join(b.sources, m.dir, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			for _, version := range regexp.MustCompile(`\d+\.\d+\.\d+`).FindAllString(m.title, -1) {
				if !strings.Contains(string(pinned), " v"+version+"\n") && !strings.Contains(string(pinned), " v"+version+" ") {
					t.Errorf("the title says version %s, go.mod pins none such", version)
				}
			}
		})
	}
}

// TestModulesAgreeOnWhatTheyShare guards the time of a first build: what two modules want in two versions is compiled
// twice, and with it all that depends on it.
func TestModulesAgreeOnWhatTheyShare(t *testing.T) {
	const root = "../../../.."
	project := requirements(t, root)
	for _, dir := range []string{"test/testbed", "test/testbed/tools/" + clients} {
		for path, version := range requirements(t, filepath.Join(root, dir)) {
			if want, both := project[path]; both && version != want {
				t.Errorf("%s has %s %s, the project %s: take the newer one in both (go get, go mod tidy)", dir, path, version, want)
			}
		}
	}
}

// requirements lists the modules that a module's go.mod requires, with their versions.
func requirements(t *testing.T, dir string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^(?:require|\t)\s*(\S+) (v\S+)`).FindAllStringSubmatch(string(content), -1) {
		found[match[1]] = match[2]
	}
	if len(found) == 0 {
		t.Fatalf("%s requires nothing", dir)
	}
	return found
}
