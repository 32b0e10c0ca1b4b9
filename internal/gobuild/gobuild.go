// Package gobuild compiles this project's own programs for the images that hold them.
package gobuild

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Program says what to compile.
type Program struct {
	// Dir is the module's root.
	Dir string
	// Package is the main package, relative to Dir, e.g. "./cmd/nap-hooks".
	Package string
	// Arch is the architecture, e.g. "arm64".
	Arch string
	// Stamps are the package variables to set, by their full name.
	Stamps map[string]string
	// Keep is a directory in which the program stays, so that the next build links it only after a change. One build at a
	// time may use it. Without one, nothing stays.
	Keep string
}

// Flags are how everything of this project is compiled, in the form of the variable GOFLAGS. What two programs share is
// compiled once only if they are compiled alike. Debugging information takes a tenth of the time and is left
// out: stack traces do not need it.
const Flags = "-trimpath -gcflags=all=-dwarf=false"

// Build compiles a static Linux program and returns it. The same source makes the same program: it holds no path of
// this machine and no revision.
func (p Program) Build(ctx context.Context) ([]byte, error) {
	work, err := os.MkdirTemp(p.Keep, ".making-")
	if err != nil {
		return nil, fmt.Errorf("build %s for %s: %w", p.Package, p.Arch, err)
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "program")
	if p.Keep != "" {
		binary = filepath.Join(p.Keep, path.Base(p.Package)+"-"+p.Arch)
	}

	flags := []string{"-s", "-w"}
	for _, name := range slices.Sorted(maps.Keys(p.Stamps)) {
		flags = append(flags, "-X", name+"="+p.Stamps[name])
	}
	command := exec.CommandContext(ctx, "go", "build", "-buildvcs=false",
		"-ldflags", strings.Join(flags, " "), "-o", binary, p.Package)
	command.Dir = p.Dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+p.Arch, "GOFLAGS="+Flags, "GOWORK=off",
		// From there go renames the program. It would copy it from another file system, and killed, leave a part of it.
		"GOTMPDIR="+work)
	// Killed, go leaves its compilers running; interrupted, it stops them.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	if output, err := command.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("build %s for %s in %s: %w\n%s", p.Package, p.Arch, p.Dir, err, bytes.TrimSpace(output))
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("build %s for %s: %w", p.Package, p.Arch, err)
	}
	return content, nil
}
