// Package tools builds the programs that the testbed runs (Kubernetes, etcd, CoreDNS, Helm, the CloudNativePG
// operator) from pinned modules, each once.
package tools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/neutree-ai/packaging/internal/gobuild"
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
	selections, err := wanted(names)
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for _, s := range selections {
		if err := b.module(ctx, s.module, s.names, paths); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// module adds the paths of a module's named programs, once all of them are there. Other modules may be built meanwhile.
func (b builder) module(ctx context.Context, m module, names []string, paths map[string]string) error {
	unlock, err := cache.Lock(ctx, b.cache, m.dir)
	if err != nil {
		return err
	}
	defer unlock()
	key, err := b.key(ctx, m)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.cache, m.dir+"-"+key)
	if err := cache.Sweep(dir); err != nil {
		return err
	}
	var missing []string
	for _, name := range names {
		paths[name] = filepath.Join(dir, path.Base(name))
		found, err := cache.Exists(paths[name])
		if err != nil {
			return fmt.Errorf("tool %s: %w", name, err)
		}
		if !found {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return b.compile(ctx, m, missing, dir)
}

// key covers all that decides what the module's programs are: its requirements with their checksums, its own source,
// the flags and the toolchain.
func (b builder) key(ctx context.Context, m module) (string, error) {
	dir := filepath.Join(b.sources, m.dir)
	env, err := b.goCommand(ctx, dir, "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("tool module %s: ask go for its version: %w", dir, err)
	}
	key := cache.NewKey().Add(string(env), gobuild.Flags).Add(m.flags()...)
	// A program's source is in the module's directory, or in one below it.
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", fmt.Errorf("tool module %s: %w", dir, err)
	}
	below, err := filepath.Glob(filepath.Join(dir, "*", "*.go"))
	if err != nil {
		return "", fmt.Errorf("tool module %s: %w", dir, err)
	}
	files = append(files, below...)
	for _, file := range append(files, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")) {
		if err := key.AddFile(file); err != nil {
			return "", fmt.Errorf("tool module %s: %w", dir, err)
		}
	}
	return key.String(), nil
}

func (m module) flags() []string {
	return []string{"-ldflags", strings.Join(append([]string{"-s", "-w"}, m.ldflags...), " ")}
}

// compile builds the named programs in one go build, which shares their many common packages, and puts each into dir,
// under all of its names, when all are whole.
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
	stubbed, err := b.stub(ctx, m, temporary)
	if err != nil {
		return fmt.Errorf("build %s: %w", m.title, err)
	}
	// The checkout's revision is no part of a tool, and git may refuse to tell it to root.
	args := slices.Concat([]string{"build", "-buildvcs=false"}, stubbed, m.flags())
	args = append(args, "-o", temporary+string(filepath.Separator))
	packages := m.packages(names)
	command := b.goCommand(ctx, filepath.Join(b.sources, m.dir), append(args, packages...)...)
	output, err := command.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("build %s in %s: %w\n%s", m.title, command.Dir, err, bytes.TrimSpace(output))
	}
	for name, pkg := range m.programs {
		if !slices.Contains(packages, pkg) {
			continue
		}
		// go build names a program after its package.
		if err := link(filepath.Join(temporary, path.Base(pkg)), filepath.Join(dir, path.Base(name))); err != nil {
			return fmt.Errorf("build %s: %w", m.title, err)
		}
	}
	b.log.Info(fmt.Sprintf("built %s in %s", m.title, time.Since(start).Round(time.Second)))
	return nil
}

// packages lists what the named programs are built from, each package once.
func (m module) packages(names []string) []string {
	var packages []string
	for _, name := range names {
		packages = append(packages, m.programs[name])
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

// link gives a program another name, in the place of what has that name.
func link(program, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(program, to)
}

// goCommand runs go as the module pins it: the caller's workspace, flags and C compiler have no say.
func (b builder) goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+gobuild.Flags, "GOWORK=off", "GO111MODULE=on")
	// Killed, go leaves its compilers running; interrupted, it stops them.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	return command
}
