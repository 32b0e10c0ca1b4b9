// Package released gives the source of released versions of this project, taken from its own history, so that tests of
// upgrades can start with what people run.
package released

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
)

// Version is the release that upgrades are tested from.
const Version = "0.1.0"

// commits are those of the released versions.
var commits = map[string]string{Version: "ea6397a30df3e76fc7da42fa491b58a15e317255"}

// Source returns the files of a released version, or of any other revision that git knows, in a folder of cacheDir.
// Only the first time the history of the checkout at root is read.
func Source(ctx context.Context, root, cacheDir, revision string) (string, error) {
	sources := filepath.Join(cacheDir, "source")
	unlock, err := cache.Lock(ctx, sources, "source")
	if err != nil {
		return "", err
	}
	defer unlock()
	commit, known := commits[revision]
	if !known {
		if commit, err = resolve(ctx, root, revision); err != nil {
			return "", err
		}
	}
	path := filepath.Join(sources, commit)
	if err := cache.Sweep(sources); err != nil {
		return "", err
	}
	return path, cache.Dir(path, func(temporary string) error {
		if _, err := resolve(ctx, root, commit); err != nil {
			return err
		}
		archive, err := git(ctx, root, "archive", "--format=tar", commit)
		if err != nil {
			return fmt.Errorf("read the files of revision %s: %w", revision, err)
		}
		if err := unpack(bytes.NewReader(archive), temporary); err != nil {
			return fmt.Errorf("unpack the files of revision %s: %w", revision, err)
		}
		return nil
	})
}

// resolve returns the full name of a commit that is in the history of the checkout.
func resolve(ctx context.Context, root, revision string) (string, error) {
	output, err := git(ctx, root, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err == nil {
		return strings.TrimSpace(string(output)), nil
	}
	shallow, failed := git(ctx, root, "rev-parse", "--is-shallow-repository")
	switch {
	case failed != nil:
		return "", fmt.Errorf("find revision %s: %s must be a git checkout with its history: %w", revision, root, failed)
	case strings.TrimSpace(string(shallow)) == "true":
		return "", fmt.Errorf("revision %s is not in this shallow clone: run git fetch --unshallow", revision)
	default:
		return "", fmt.Errorf("revision %s is not in the history of %s: run git fetch --all, or clone the repository again", revision, root)
	}
}

func git(ctx context.Context, root string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "git", args...)
	command.Dir = root
	output, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(exit.Stderr))
	}
	return output, err
}

// unpack writes the files of git's archive below dir.
func unpack(archive io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeXGlobalHeader: // Holds the commit's name.
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(header.Name), 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(header.Linkname, header.Name)
		case tar.TypeReg:
			err = write(root, header.Name, header.FileInfo().Mode().Perm(), reader)
		default:
			err = fmt.Errorf("%s is of an unknown type %q", header.Name, header.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

func write(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
