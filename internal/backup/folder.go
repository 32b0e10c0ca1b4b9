package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Folder is a backup in the clear in a folder of a person's, as PullFolder writes it.
type Folder struct {
	// Dir is the folder of the backup itself.
	Dir string
	Metadata
}

// OpenFolder reads the description of the backup in dir.
func OpenFolder(dir string) (Folder, error) {
	raw, err := os.ReadFile(filepath.Join(dir, metadataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Folder{}, hook.Refusef(finding.BackupMissing, "name the folder that has this file",
			"there is no backup in folder %s: it has no %s", dir, metadataFile)
	}
	if err != nil {
		return Folder{}, fmt.Errorf("read the backup in folder %s: %w", dir, err)
	}
	m, err := ReadMetadata(raw)
	return Folder{Dir: dir, Metadata: m}, err
}

// WriteTar writes the backup to w. Who receives it compares the checksums.
func (f Folder) WriteTar(w io.Writer) error {
	return WriteTar(w, f.Metadata, func(name string) (io.ReadCloser, error) {
		return os.Open(filepath.Join(f.Dir, name))
	})
}

// PullFolder stores a backup that arrives from r as a tar in a new folder of dir, which has the name of the backup
// and is its owner's alone. It appears once it is whole.
func PullFolder(ctx context.Context, r io.Reader, dir string) (Folder, error) {
	made := ""
	m, err := ReadTar(ctx, r, Sink{
		Begin: func(m Metadata) (bool, error) {
			if err := refuseFolder(dir, m.Name); err != nil {
				return false, err
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return false, fmt.Errorf("make folder %s: %w", dir, err)
			}
			var err error
			made, err = os.MkdirTemp(dir, partial+m.Name+"-")
			return false, err
		},
		Create: func(name string) (io.WriteCloser, error) {
			return os.OpenFile(filepath.Join(made, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		},
	})
	var raw []byte
	if err == nil {
		raw, err = json.MarshalIndent(m, "", "  ")
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(made, metadataFile), append(raw, '\n'), 0o600)
	}
	whole := filepath.Join(dir, m.Name)
	if err == nil {
		err = os.Rename(made, whole)
	}
	if err != nil {
		if made != "" {
			err = errors.Join(err, os.RemoveAll(made))
		}
		return Folder{}, err
	}
	return Folder{Dir: whole, Metadata: m}, nil
}

// refuseFolder refuses to write over a backup.
func refuseFolder(dir, name string) error {
	if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return hook.Refusef(finding.BackupExists, "name another folder, or move that one away",
			"folder %s has a backup %s already", dir, name)
	}
	return nil
}
