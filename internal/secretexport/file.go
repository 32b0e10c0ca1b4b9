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
	put := os.Rename
	if !replace {
		// A link fails where there is a file by now.
		put = os.Link
	}
	err = put(file.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
