package tools

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stub makes copies below temporary of the modules that hold the packages to stub, puts the stubs in, and returns the
// flags with which go build takes them. Go replaces whole modules only, and nothing within its cache of them.
func (b builder) stub(ctx context.Context, m module, temporary string) ([]string, error) {
	if len(m.stubs) == 0 {
		return nil, nil
	}
	dir := filepath.Join(b.sources, m.dir)
	// go.sum is looked for beside it.
	modfile := filepath.Join(temporary, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(temporary, name), content, 0o644); err != nil {
			return nil, err
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(m.stubs)) {
		output, err := b.goCommand(ctx, dir, "list", "-find", "-f", "{{.Module.Path}} {{.Module.Dir}} {{.Dir}}", pkg).Output()
		if err != nil {
			return nil, fmt.Errorf("find package %s, which is to be stubbed: %w", pkg, err)
		}
		found := strings.Fields(string(output))
		if len(found) != 3 {
			return nil, fmt.Errorf("find package %s, which is to be stubbed: go list says %q", pkg, output)
		}
		name, original, inside := found[0], found[1], strings.TrimPrefix(found[2], found[1])
		replacement := filepath.Join(temporary, "modules", name)
		if _, err := os.Stat(replacement); errors.Is(err, fs.ErrNotExist) {
			if err := os.CopyFS(replacement, os.DirFS(original)); err != nil {
				return nil, fmt.Errorf("copy module %s: %w", name, err)
			}
		}
		if err := replaceFiles(filepath.Join(replacement, inside), filepath.Join(dir, m.stubs[pkg])); err != nil {
			return nil, fmt.Errorf("stub package %s: %w", pkg, err)
		}
		edit := b.goCommand(ctx, dir, "mod", "edit", "-replace", name+"="+replacement, modfile)
		if output, err := edit.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("stub package %s: %w\n%s", pkg, err, output)
		}
	}
	return []string{"-mod=mod", "-modfile", modfile}, nil
}

// replaceFiles puts the files of one directory in the place of those of another, whose directories stay.
func replaceFiles(dir, with string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	// In Go's cache of modules nothing may be written, and a copy keeps that.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return os.CopyFS(dir, os.DirFS(with))
}
