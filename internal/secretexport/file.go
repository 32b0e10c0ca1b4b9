package secretexport

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// CheckFile refuses a file that exists, unless it may be replaced.
func CheckFile(path string, replace bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for the file: %w", err)
	case !info.Mode().IsRegular():
		return hook.Errorf(hook.Usage, "%s is no file", path)
	case !replace:
		return exists(path)
	}
	return nil
}

func exists(path string) error {
	return hook.Refusef(finding.SecretsFile, "name another file, or replace it with --force", "%s exists", path)
}

// SaveFile writes a file that its owner alone may read, whole or not at all. It replaces one only where it may.
func SaveFile(path string, content []byte, replace bool) error {
	// A temporary file has the mode 0600, and has no name that others know.
	file, err := os.CreateTemp(filepath.Dir(path), ".helm-neutree-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // It is renamed by then.
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if !replace {
		// The name is taken first, which fails where there is a file by now. A hard link would not need that, and not every
		// file system has them.
		taken, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return exists(path)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		_ = taken.Close()
	}
	if err := os.Rename(file.Name(), path); err != nil {
		if !replace {
			err = errors.Join(err, os.Remove(path))
		}
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
