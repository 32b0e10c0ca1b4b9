package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Send writes the backup called name to w as a tar. Its files are open from the beginning, so that it arrives whole
// even if it is deleted meanwhile. Who receives it compares the checksums.
func (b *Backup) Send(ctx context.Context, name string, w io.Writer) (Metadata, error) {
	m, err := b.Read(name)
	if err != nil {
		return m, err
	}
	files := map[string]*os.File{}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for file := range m.Files {
		if file != databaseFile && file != afsFile {
			return m, damaged(name, "it names a file %q", file)
		}
		f, err := os.Open(filepath.Join(b.Spec.Dir, name, file))
		if err != nil {
			return m, damaged(name, "%v", err)
		}
		files[file] = f
	}
	b.Log.Info("sending the backup", "name", name, "size", Size(m.Bytes))
	return m, WriteTar(w, m, func(file string) (io.ReadCloser, error) {
		return io.NopCloser(readerWith(ctx, files[file])), nil
	})
}

// Receive stores a backup that arrives from r as a tar, and returns what it holds. It appears in the folder once it is
// whole, its checksums are right and pg_restore reads it. One that is there already is left as it is.
//
// It counts as made by a person: no retention of automatic backups may delete it, and no upgrade may take it for a
// backup of this installation.
func (b *Backup) Receive(ctx context.Context, name string, r io.Reader) (m Metadata, err error) {
	unlock, err := b.lock("backup receive " + name)
	if err != nil {
		return m, err
	}
	defer unlock()
	if err := b.removePartial(); err != nil {
		return m, err
	}
	dir := filepath.Join(b.Spec.Dir, partial+name)
	there := false
	m, err = ReadTar(ctx, r, Sink{
		Begin: func(m Metadata) (bool, error) {
			var err error
			there, err = b.beginReceive(ctx, name, dir, m)
			return there, err
		},
		Create: func(file string) (io.WriteCloser, error) {
			return os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
		},
	})
	switch {
	case err == nil && there:
		return b.Read(name)
	case err == nil:
		m.Kind, m.Series, m.Job = Manual, "", ""
		err = b.complete(ctx, dir, &m)
	}
	if err != nil {
		return m, errors.Join(b.full(err), os.RemoveAll(dir))
	}
	return m, nil
}

// beginReceive makes the folder for what arrives, or says that it is there.
func (b *Backup) beginReceive(ctx context.Context, name, dir string, m Metadata) (there bool, err error) {
	if m.Name != name {
		return false, damaged(name, "what arrives is backup %s", m.Name)
	}
	if _, err := os.Stat(filepath.Join(b.Spec.Dir, name)); err == nil {
		live, err := b.Read(name)
		if err != nil {
			return false, err
		}
		if !maps.Equal(live.Files, m.Files) {
			return false, hook.Refusef(finding.BackupExists,
				"delete that one with helm neutree backup delete "+name+", if it is not needed",
				"PVC %s has another backup that is called %s, of %s", b.Spec.Claim, name, live.Time.UTC())
		}
		return true, b.check(ctx, live)
	}
	need := total(m)
	free, size, err := b.freeSpace()
	if err != nil {
		return false, err
	}
	if need > free {
		return false, hook.Refusef(finding.BackupSpace,
			"raise global.backup.size, or delete a backup with helm neutree backup delete",
			"the backup would not fit: it takes %s, but of the %s of PVC %s only %s are free",
			Size(need), Size(size), b.Spec.Claim, Size(free))
	}
	b.Log.Info("receiving the backup", "name", name, "size", Size(need))
	if err := os.Mkdir(dir, 0o750); err != nil {
		return false, b.full(fmt.Errorf("begin backup %s: %w", name, err))
	}
	return false, nil
}

// complete brings the files that arrived to the disk and gives the backup its name.
func (b *Backup) complete(ctx context.Context, dir string, m *Metadata) error {
	m.Bytes = total(*m)
	for file, want := range m.Files {
		got, err := seal(ctx, filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if got != want {
			return damaged(m.Name, "%s was not written as it arrived", file)
		}
	}
	if _, err := b.contents(ctx, filepath.Join(dir, databaseFile)); err != nil {
		return fmt.Errorf("backup %s arrived, but pg_restore of this installation can't read it: %w", m.Name, err)
	}
	return b.publish(ctx, dir, *m)
}

// total is what the files of a backup take.
func total(m Metadata) int64 {
	var bytes int64
	for _, f := range m.Files {
		bytes += f.Bytes
	}
	return bytes
}
