package hook

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/neutree-ai/packaging/internal/finding"
)

const otherImage = "it is not an image of the service, or of a release that is laid out otherwise"

// CopySQL copies the SQL files of from into to and returns how many there were. None is an error:
// a service's image always has some.
func CopySQL(from, to string) (int, error) {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, Refusef(finding.ImagesContent, otherImage, "the image has no folder %s", from)
	}
	if err != nil {
		return 0, fmt.Errorf("copy migrations: %w", err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return 0, fmt.Errorf("copy migrations: %w", err)
	}
	copied := 0
	for _, entry := range entries {
		if entry.IsDir() || !strings.HasSuffix(entry.Name(), ".sql") {
			continue
		}
		if err := copyFile(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name()), 0o644); err != nil {
			return copied, fmt.Errorf("copy migrations: %w", err)
		}
		copied++
	}
	if copied == 0 {
		return 0, Refusef(finding.ImagesContent, otherImage, "the folder %s of the image holds no .sql file", from)
	}
	return copied, nil
}

// Install copies the running program into the folder to, so that containers of other images can run it.
func Install(to string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the running program: %w", err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", fmt.Errorf("install nap-hooks: %w", err)
	}
	at := filepath.Join(to, "nap-hooks")
	if err := copyFile(self, at, 0o755); err != nil {
		return "", fmt.Errorf("install nap-hooks: %w", err)
	}
	return at, nil
}

// copyFile replaces to in one step, so that a container that is killed and started again never
// leaves half a file, nor writes into a program that runs.
func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), ".copy-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	// The mode must not depend on the umask: the reader is another user.
	if err := errors.Join(err, out.Chmod(mode), out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}
