// Package ociimage makes container images out of files, without a container engine. The same files always make the
// same image: times are zero and entries are sorted.
package ociimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one entry of an image's file system. Its content is Source's, else Content. A Mode with fs.ModeDir makes a
// directory, one with fs.ModeSymlink a link to Link.
type File struct {
	// Path is absolute in the image.
	Path string
	// Source is a file of this machine.
	Source string
	// Content is what the file holds where there is no Source.
	Content []byte
	// Link is what a symbolic link points to.
	Link string
	// Mode holds the type and the permissions.
	Mode fs.FileMode
	// UID and GID own the entry.
	UID, GID int
}

// Compression is the level of gzip that a layer is compressed with.
type Compression int

const (
	// Small is for images that are published.
	Small Compression = gzip.DefaultCompression
	// Stored is for images that do not leave the machine: to compress them and to unpack them again on every node takes
	// more time than to copy them.
	Stored Compression = gzip.NoCompression
)

// Layer makes one layer of files. Directories above them that are not listed are made, owned by root with mode 0755.
func (c Compression) Layer(files ...File) (v1.Layer, error) {
	entries, err := entries(files)
	if err != nil {
		return nil, err
	}
	return c.FromTar(func(w *tar.Writer) error {
		for _, entry := range entries {
			if err := entry.write(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// FromTar makes one layer of the entries that write writes. It is called more than once and must write the same each
// time.
func (c Compression) FromTar(write func(*tar.Writer) error) (v1.Layer, error) {
	opener := func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() {
			archive := tar.NewWriter(writer)
			err := write(archive)
			if err == nil {
				err = archive.Close()
			}
			writer.CloseWithError(err)
		}()
		return reader, nil
	}
	return tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressedCaching, tarball.WithCompressionLevel(int(c)))
}

// entries sorts files by path and puts the missing directories before what they hold.
func entries(files []File) ([]File, error) {
	byPath := map[string]File{}
	for _, file := range files {
		if !path.IsAbs(file.Path) || path.Clean(file.Path) != file.Path || file.Path == "/" {
			return nil, fmt.Errorf("image file %q: the path must be absolute and clean", file.Path)
		}
		if _, twice := byPath[file.Path]; twice {
			return nil, fmt.Errorf("image file %s is listed twice", file.Path)
		}
		byPath[file.Path] = file
	}
	for _, file := range files {
		for dir := path.Dir(file.Path); dir != "/"; dir = path.Dir(dir) {
			above, listed := byPath[dir]
			if listed && !above.Mode.IsDir() {
				return nil, fmt.Errorf("image file %s lies below %s, which is no directory", file.Path, dir)
			}
			if !listed {
				byPath[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	all := make([]File, 0, len(byPath))
	for _, file := range byPath {
		all = append(all, file)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

func (f File) write(w *tar.Writer) error {
	header := &tar.Header{
		Name: strings.TrimPrefix(f.Path, "/"), Mode: permissions(f.Mode), Uid: f.UID, Gid: f.GID,
		Format: tar.FormatPAX,
	}
	switch {
	case f.Mode.IsDir():
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		return w.WriteHeader(header)
	case f.Mode&fs.ModeSymlink != 0:
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
		return w.WriteHeader(header)
	case !f.Mode.IsRegular():
		return fmt.Errorf("image file %s: a layer holds no %s", f.Path, f.Mode.Type())
	}
	content := io.Reader(bytes.NewReader(f.Content))
	header.Typeflag, header.Size = tar.TypeReg, int64(len(f.Content))
	if f.Source != "" {
		file, err := os.Open(f.Source)
		if err != nil {
			return fmt.Errorf("image file %s: %w", f.Path, err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("image file %s: %w", f.Path, err)
		}
		content, header.Size = file, info.Size()
	}
	if err := w.WriteHeader(header); err != nil {
		return fmt.Errorf("image file %s: %w", f.Path, err)
	}
	if _, err := io.Copy(w, content); err != nil {
		return fmt.Errorf("image file %s: %w", f.Path, err)
	}
	return nil
}

// permissions is a mode as tar has it.
func permissions(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
