package tools

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bench is a builder whose module etcd is a tiny program, and its log.
func bench(t *testing.T) (builder, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	b := builder{log: slog.New(slog.NewTextHandler(log, nil)), sources: t.TempDir(), cache: t.TempDir()}
	edit(t, b, "go.mod", "module example.com/etcd\n\ngo 1.26\n")
	edit(t, b, "go.sum", "")
	edit(t, b, "main.go", "package main\n\nfunc main() { print(\"first\") }\n")
	return b, log
}

func edit(t *testing.T, b builder, name, content string) {
	t.Helper()
	path := filepath.Join(b.sources, "etcd", name)
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
	if count := strings.Count(log.String(), "building etcd"); count != 1 {
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
		{"main.go", "package main\n\nfunc main() { print(\"second\") }\n"},
		{"go.mod", "module example.com/etcd\n\ngo 1.26.0\n"},
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
	plain := module{dir: "etcd"}
	stamped := module{dir: "etcd", ldflags: []string{"-X", "main.version=1"}}
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
	edit(t, b, "main.go", "package main\n\nfunc main() { nothing() }\n")
	_, err := b.build(t.Context(), []string{"etcd"})
	for _, want := range []string{"build etcd 3.6.5", filepath.Join(b.sources, "etcd"), "undefined: nothing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	left, err := filepath.Glob(filepath.Join(b.cache, "etcd-*", "*"))
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

func TestProgramsOfOneModuleAreBuiltTogether(t *testing.T) {
	modules, names, err := wanted([]string{"kubernetes-1.34/kubelet", "helm-4", "kubernetes-1.34/kubectl", "helm-4"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"kubernetes-1.34": {"kubernetes-1.34/kubectl", "kubernetes-1.34/kubelet"}, "helm-4": {"helm-4"}}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("tools by module (-want +got):\n%s", diff)
	}
	if len(modules) != 2 {
		t.Fatalf("got %d modules", len(modules))
	}
	out, packages := modules[0].output(names["kubernetes-1.34"], "/tmp/x")
	wantPackages := []string{"k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes/cmd/kubelet"}
	if diff := cmp.Diff(wantPackages, packages); diff != "" || out != "/tmp/x/" {
		t.Errorf("go build -o %s (-want +got):\n%s", out, diff)
	}
	// Alone, helm's package would be called helm.
	if out, _ := modules[1].output(names["helm-4"], "/tmp/x"); out != "/tmp/x/helm-4" {
		t.Errorf("go build -o %s, want /tmp/x/helm-4", out)
	}
}

// TestModulesPinTheirTools asks the real modules for what the catalogue builds from them.
func TestModulesPinTheirTools(t *testing.T) {
	for _, m := range catalogue() {
		t.Run(m.dir, func(t *testing.T) {
			b := builder{sources: "../../tools"}
			args := append([]string{"list", "-f", "{{.Name}}"}, slices.Sorted(maps.Values(m.programs))...)
			// What go downloads the first time it tells on the standard error.
			var talk strings.Builder
			command := b.goCommand(t.Context(), filepath.Join(b.sources, m.dir), args...)
			command.Stderr = &talk
			output, err := command.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, talk.String())
			}
			want := strings.Repeat("main\n", len(m.programs))
			if diff := cmp.Diff(want, string(output)); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
			title := m.title[strings.LastIndex(m.title, " ")+1:]
			pinned, err := os.ReadFile(filepath.Join(b.sources, m.dir, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(pinned), " v"+title+"\n") && !strings.Contains(string(pinned), " v"+title+" ") {
				t.Errorf("the title says version %s, go.mod pins none such", title)
			}
		})
	}
}
