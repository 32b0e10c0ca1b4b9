// Package backupfile keeps a backup in one file on a person's disk: a tar, encrypted with age.
package backupfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Extension ends the names of such files.
const Extension = ".tar.age"

// Write stores a backup that arrives from r as a tar in a new file of dir, which has the backup's name and is its
// owner's alone, and returns its path. It appears once it is whole.
func Write(ctx context.Context, r io.Reader, dir, name string, recipients []age.Recipient) (path string, err error) {
	path = filepath.Join(dir, name+Extension)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", hook.Refusef(finding.BackupExists, "name another folder, or move that one away",
			"file %s is there already", path)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder %s: %w", dir, err)
	}
	// Its mode is 0600.
	f, err := os.CreateTemp(dir, ".partial-*")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	err = errors.Join(encrypt(ctx, f, r, name, recipients), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return path, nil
}

// encrypt writes the tar as it arrives, and sees that it is that of the backup.
func encrypt(ctx context.Context, w io.Writer, r io.Reader, name string, recipients []age.Recipient) error {
	sealed, err := age.Encrypt(w, recipients...)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	_, err = backup.ReadTar(ctx, io.TeeReader(r, sealed), backup.Sink{
		Begin: func(m backup.Metadata) (bool, error) {
			if m.Name != name {
				return false, fmt.Errorf("backup %s arrives instead of %s", m.Name, name)
			}
			return false, nil
		},
		Create: func(string) (io.WriteCloser, error) { return discard{}, nil },
	})
	if err != nil {
		return err
	}
	if _, err := io.Copy(sealed, r); err != nil {
		return err
	}
	return sealed.Close()
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// File is an encrypted backup.
type File struct {
	path       string
	identities []age.Identity
	backup.Metadata
}

// Open decrypts the description of the backup in the file at path.
func Open(ctx context.Context, path string, identities []age.Identity) (*File, error) {
	f := &File{path: path, identities: identities}
	err := f.read(func(tar io.Reader) error {
		var err error
		f.Metadata, err = backup.ReadTar(ctx, tar, backup.Sink{
			Begin: func(backup.Metadata) (bool, error) { return true, nil },
		})
		return err
	})
	return f, err
}

// WriteTar decrypts the backup as a tar. Who receives it compares the checksums.
func (f *File) WriteTar(w io.Writer) error {
	return f.read(func(tar io.Reader) error {
		_, err := io.Copy(w, tar)
		return err
	})
}

func (f *File) read(do func(io.Reader) error) error {
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	defer file.Close() //nolint:errcheck // It was only read.
	tar, err := age.Decrypt(file, f.identities...)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return hook.Refusef(finding.OffsiteIdentity, "use the private key of one of the recipients that it was written for",
			"%s is not encrypted for this identity", f.path)
	case err != nil:
		return hook.Refusef(finding.BackupDamaged, "give a file that helm neutree backup pull has written",
			"%s can't be decrypted: %v", f.path, err)
	}
	return do(tar)
}
