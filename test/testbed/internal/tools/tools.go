// Package tools builds the programs that the testbed runs (Kubernetes, etcd, CoreDNS, Helm, the CloudNativePG
// operator) from pinned modules, each once.
package tools

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
	"github.com/neutree-ai/packaging/test/testbed/internal/source"
)

// Build returns the path of each named tool. What is not in cacheDir yet is built there first, which takes minutes
// and is told to log.
func Build(ctx context.Context, log *slog.Logger, cacheDir string, names ...string) (map[string]string, error) {
	root, err := source.Root()
	if err != nil {
		return nil, err
	}
	b := builder{log: log, sources: filepath.Join(root, "test/testbed/tools"), cache: filepath.Join(cacheDir, "tools")}
	return b.build(ctx, names)
}

type builder struct {
	log *slog.Logger
	// sources holds the tools' modules.
	sources string
	// cache holds the finished programs: <module>-<key>/<program>.
	cache string
}

func (b builder) build(ctx context.Context, names []string) (map[string]string, error) {
	modules, perModule, err := wanted(names)
	if err != nil {
		return nil, err
	}
	unlock, err := cache.Lock(ctx, b.cache, "build")
	if err != nil {
		return nil, err
	}
	defer unlock()
	paths := map[string]string{}
	for _, m := range modules {
		key, err := b.key(ctx, m)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(b.cache, m.dir+"-"+key)
		if err := cache.Sweep(dir); err != nil {
			return nil, err
		}
		var missing []string
		for _, name := range perModule[m.dir] {
			paths[name] = filepath.Join(dir, path.Base(name))
			found, err := cache.Exists(paths[name])
			if err != nil {
				return nil, fmt.Errorf("tool %s: %w", name, err)
			}
			if !found {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			if err := b.compile(ctx, m, missing, dir); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
}

// key covers all that decides what the module's programs are: its requirements with their checksums, its own source,
// the flags and the toolchain.
func (b builder) key(ctx context.Context, m module) (string, error) {
	dir := filepath.Join(b.sources, m.dir)
	env, err := b.goCommand(ctx, dir, "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("tool module %s: ask go for its version: %w", dir, err)
	}
	key := cache.NewKey().Add(string(env)).Add(m.flags()...)
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", fmt.Errorf("tool module %s: %w", dir, err)
	}
	for _, file := range append(files, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")) {
		if err := key.AddFile(file); err != nil {
			return "", fmt.Errorf("tool module %s: %w", dir, err)
		}
	}
	return key.String(), nil
}

func (m module) flags() []string {
	return []string{"-trimpath", "-ldflags", strings.Join(append([]string{"-s", "-w"}, m.ldflags...), " ")}
}

// compile builds the named programs in one go build, which shares their many common packages, and moves each into dir
// when it is whole.
func (b builder) compile(ctx context.Context, m module, names []string, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("build %s: %w", m.title, err)
	}
	temporary, err := os.MkdirTemp(dir, ".making-")
	if err != nil {
		return fmt.Errorf("build %s: %w", m.title, err)
	}
	defer os.RemoveAll(temporary)

	b.log.Info(fmt.Sprintf("building %s (about %s the first time)…", m.title, m.cold))
	start := time.Now()
	out, packages := m.output(names, temporary)
	// The checkout's revision is no part of a tool, and git may refuse to tell it to root.
	args := append([]string{"build", "-buildvcs=false"}, m.flags()...)
	args = append(args, "-o", out)
	command := b.goCommand(ctx, filepath.Join(b.sources, m.dir), append(args, packages...)...)
	output, err := command.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("build %s in %s: %w\n%s", m.title, command.Dir, err, bytes.TrimSpace(output))
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(temporary, path.Base(name)), filepath.Join(dir, path.Base(name))); err != nil {
			return fmt.Errorf("build %s: %w", m.title, err)
		}
	}
	b.log.Info(fmt.Sprintf("built %s in %s", m.title, time.Since(start).Round(time.Second)))
	return nil
}

// output tells go build where to write which packages' programs. It names several after their packages; a lone one is
// given its name, which need not be its package's.
func (m module) output(names []string, dir string) (out string, packages []string) {
	if len(names) == 1 {
		return filepath.Join(dir, path.Base(names[0])), []string{m.programs[names[0]]}
	}
	for _, name := range names {
		packages = append(packages, m.programs[name])
	}
	return dir + string(filepath.Separator), packages
}

// goCommand runs go as the module pins it: the caller's workspace, flags and C compiler have no say.
func (b builder) goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	// Killed, go leaves its compilers running; interrupted, it stops them.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	return command
}
