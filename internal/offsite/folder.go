package offsite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Folder is a Store in a folder, such as one of an NFS mount.
type Folder struct {
	// root keeps every path within the folder, links included.
	root *os.Root
	name string
}

var _ Store = (*Folder)(nil)

// unfinished begins the names of files that are being written.
const unfinished = ".unfinished-"

// NewFolder opens the folder dir, which must be there, and in it the folder prefix, which is created by the first copy.
func NewFolder(dir, prefix string) (*Folder, error) {
	prefix, err := CleanPrefix(prefix)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, folderError("open the folder", dir, err)
	}
	if prefix == "" {
		return &Folder{root: root, name: dir}, nil
	}
	defer root.Close() //nolint:errcheck // It was only read.
	if err := root.MkdirAll(prefix, 0o750); err != nil {
		return nil, folderError("create the folder", path.Join(dir, prefix), err)
	}
	below, err := root.OpenRoot(prefix)
	if err != nil {
		return nil, folderError("open the folder", path.Join(dir, prefix), err)
	}
	return &Folder{root: below, name: path.Join(dir, prefix)}, nil
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

// String is the path of the folder.
func (f *Folder) String() string { return f.name }

// Put writes to a file of another name, which then replaces the one that is there.
func (f *Folder) Put(ctx context.Context, key string, content []byte) error {
	if err := errors.Join(checkKey(key), ctx.Err()); err != nil {
		return err
	}
	dir := path.Dir(key)
	if err := f.root.MkdirAll(dir, 0o750); err != nil {
		return folderError("create the folder", f.path(dir), err)
	}
	file, err := f.root.OpenFile(path.Join(dir, unfinished+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return folderError("write", f.path(key), err)
	}
	name := path.Join(dir, path.Base(file.Name()))
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = f.root.Rename(name, key)
	}
	if err != nil {
		return folderError("write", f.path(key), errors.Join(err, f.root.Remove(name)))
	}
	return f.sync(dir)
}

// sync brings the names in a folder to the disk.
func (f *Folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return folderError("write", f.path(dir), err)
	}
	// Some file systems can't.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return folderError("write", f.path(dir), errors.Join(err, d.Close()))
	}
	return d.Close()
}

// Get reads a file.
func (f *Folder) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := errors.Join(checkKey(key), ctx.Err()); err != nil {
		return nil, err
	}
	file, err := f.root.Open(key)
	if err != nil {
		return nil, f.readError(key, err)
	}
	defer file.Close() //nolint:errcheck // It was only read.
	info, err := file.Stat()
	if err != nil {
		return nil, f.readError(key, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", f.path(key))
	}
	if info.Size() > limit {
		return nil, &tooLargeError{f.path(key), limit}
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(file, content); err != nil {
		return nil, f.readError(key, err)
	}
	return content, nil
}

// Stat says how large a file is.
func (f *Folder) Stat(ctx context.Context, key string) (Object, error) {
	if err := errors.Join(checkKey(key), ctx.Err()); err != nil {
		return Object{}, err
	}
	info, err := f.root.Lstat(key)
	if err != nil {
		return Object{}, f.readError(key, err)
	}
	return Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List reads folders a part at a time. Links are left out. Files that are being written are not: those of a run that was
// killed have to go with the copy.
func (f *Folder) List(ctx context.Context, prefix string, deep bool) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) { f.list(ctx, prefix, deep, yield) }
}

const atOnce = 1000

func (f *Folder) list(ctx context.Context, prefix string, deep bool, yield func(Object, error) bool) bool {
	at := "."
	if prefix != "" {
		at = strings.TrimSuffix(prefix, "/")
		if err := checkKey(at); err != nil {
			return yield(Object{}, err)
		}
	}
	dir, err := f.root.Open(at)
	if errors.Is(err, fs.ErrNotExist) && prefix != "" {
		return true
	}
	if err != nil {
		return yield(Object{}, folderError("list the folder", f.path(prefix), err))
	}
	defer dir.Close() //nolint:errcheck // It was only read.
	for {
		entries, err := dir.ReadDir(atOnce)
		for _, entry := range entries {
			if !f.entry(ctx, prefix, entry, deep, yield) {
				return false
			}
		}
		if errors.Is(err, io.EOF) {
			return true
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			yield(Object{}, folderError("list the folder", f.path(prefix), err))
			return false
		}
	}
}

func (f *Folder) entry(ctx context.Context, prefix string, entry fs.DirEntry, deep bool,
	yield func(Object, error) bool,
) bool {
	key := prefix + entry.Name()
	switch {
	case entry.IsDir() && deep:
		return f.list(ctx, key+"/", true, yield)
	case entry.IsDir():
		return yield(Object{Key: key + "/"}, nil)
	case !entry.Type().IsRegular():
		return true
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		yield(Object{}, folderError("list the folder", f.path(prefix), err))
		return false
	}
	return yield(Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil)
}

// Delete removes a file, and the folders above it that are empty then.
func (f *Folder) Delete(ctx context.Context, key string) error {
	if err := errors.Join(checkKey(key), ctx.Err()); err != nil {
		return err
	}
	if err := f.root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return folderError("delete", f.path(key), err)
	}
	for dir := path.Dir(key); dir != "." && f.root.Remove(dir) == nil; dir = path.Dir(dir) {
	}
	return nil
}

func (f *Folder) path(key string) string { return path.Join(f.name, key) }

// readError keeps what says that there is no such file, for readers that expect that.
func (f *Folder) readError(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", f.path(key), fs.ErrNotExist)
	}
	return folderError("read", f.path(key), err)
}

// folderError explains what a file system refuses.
func folderError(what, name string, err error) error {
	is := func(codes ...syscall.Errno) bool {
		for _, code := range codes {
			if errors.Is(err, code) {
				return true
			}
		}
		return false
	}
	switch {
	case is(syscall.ENOSPC, syscall.EDQUOT):
		return hook.Refusef(finding.OffsiteFull, fixFull, "%s %s: the volume of the copies is full", what, name)
	case is(syscall.EACCES, syscall.EPERM, syscall.EROFS):
		return hook.Refusef(finding.OffsiteAccess,
			"let the user that the Job runs as write there; an NFS export must be writable for the nodes",
			"%s %s: the file system refuses it (%v)", what, name, reason(err))
	case is(syscall.ENOENT, syscall.ENOTDIR):
		return hook.Refusef(finding.OffsiteBucket, "name a folder that exists", "%s %s: there is no such folder", what, name)
	case is(syscall.ESTALE, syscall.EIO, syscall.ETIMEDOUT, syscall.EHOSTDOWN):
		return hook.Failf(hook.Unexpected, finding.OffsiteUnreachable,
			"check the file server, and that the volume is mounted",
			"%s %s: the file system does not answer (%v)", what, name, reason(err))
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}

// reason leaves out what an error of the file system repeats of the path.
func reason(err error) error {
	var code syscall.Errno
	if errors.As(err, &code) {
		return code
	}
	return err
}
