package images

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/neutree-ai/packaging/internal/ociimage"
	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
	"github.com/neutree-ai/packaging/test/testbed/internal/debian"
)

// The suite whose PostgreSQL has the major version that the chart's default image has. The image is served under the
// published one's tag whatever Debian's minor version is: the operator goes by the major.
const (
	debianSuite     = "trixie"
	debianMirror    = "http://deb.debian.org/debian"
	postgresqlMajor = "17"
)

// The next major version, the suite that has it, and the tag that docs/upgrade.md has as its example.
const (
	newerSuite      = "forky"
	newerPostgresql = "18"
	newerTag        = "18.1"
)

//go:embed postgresql/rootfs.sh
var postgresqlRootfs string

func (b builder) postgresql(context.Context) ([]recipe, error) {
	image, err := imageWithKey("postgresql")
	if err != nil {
		return nil, err
	}
	return []recipe{{
		name: "postgresql", refs: []string{image.Ref()}, slow: "about 2 minutes",
		key: postgresqlKey(postgresqlMajor),
		make: func(ctx context.Context, scratch string) (v1.Image, error) {
			return b.makePostgresql(ctx, scratch, postgresqlMajor)
		},
	}}, nil
}

// newerPostgresql is an image of the next major version.
func (b builder) newerPostgresql(context.Context) ([]recipe, error) {
	image, err := imageWithKey("postgresql")
	if err != nil {
		return nil, err
	}
	image.Tag = newerTag
	return []recipe{{
		name: "postgresql-" + newerPostgresql, refs: []string{image.Ref()}, slow: "about 3 minutes",
		key: postgresqlKey(newerSuite, newerPostgresql),
		make: func(ctx context.Context, scratch string) (v1.Image, error) {
			return b.makePostgresql(ctx, scratch, newerPostgresql, newerSuite, newerPostgresql)
		},
	}}, nil
}

// postgresqlKey covers what the image is made from, and more that it depends on.
func postgresqlKey(more ...string) string {
	return cache.NewKey().Add("3", debianSuite, debianMirror, postgresqlMajor, postgresqlRootfs, runtime.GOARCH).Add(more...).String()
}

// makePostgresql makes an image of a major version. The newer arguments are those of the script.
func (b builder) makePostgresql(ctx context.Context, scratch, major string, newer ...string) (v1.Image, error) {
	if err := debian.Install(ctx, b.log, "debootstrap", "debian-archive-keyring", "gpgv"); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("debootstrap needs root: run `testbed build` as root once, the image is kept")
	}
	rootfs := filepath.Join(scratch, "rootfs")
	// In namespaces of its own whatever the script mounts or starts ends with it, also when it is killed.
	args := append([]string{"--mount", "--pid", "--fork", "--kill-child",
		"sh", "-s", rootfs, debianSuite, postgresqlMajor, debianMirror}, newer...)
	command := exec.CommandContext(ctx, "unshare", args...)
	command.Stdin = bytes.NewBufferString(postgresqlRootfs)
	command.WaitDelay = 10 * time.Second
	if output, err := command.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("make a root file system with PostgreSQL %s of Debian: %w\n%s", major, err, lastLines(output, 20))
	}
	layer, err := ociimage.Stored.FromTar(func(w *tar.Writer) error { return writeTree(w, rootfs) })
	if err != nil {
		return nil, err
	}
	return ociimage.New(here(), v1.Config{
		User: "26",
		Env: []string{
			"PATH=/usr/lib/postgresql/" + major + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LANG=C.UTF-8",
		},
		WorkingDir: "/",
	}, layer)
}

// writeTree writes a root file system, owners and modes included, times not. Devices are left out: a container gets
// its own.
func writeTree(w *tar.Writer, root string) error {
	seen := map[uint64]string{}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode()&(fs.ModeDevice|fs.ModeSocket|fs.ModeNamedPipe) != 0 {
			return nil
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		found, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		header := &tar.Header{
			Typeflag: found.Typeflag, Name: inside, Linkname: found.Linkname, Size: found.Size,
			Mode: found.Mode, Uid: found.Uid, Gid: found.Gid, Format: tar.FormatPAX,
		}
		if entry.IsDir() {
			header.Name += "/"
		}
		if status, ok := info.Sys().(*syscall.Stat_t); ok && status.Nlink > 1 && info.Mode().IsRegular() {
			if first, again := seen[status.Ino]; again {
				header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
				return w.WriteHeader(header)
			}
			seen[status.Ino] = inside
		}
		if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(w, file)
		return err
	})
}

func lastLines(output []byte, count int) []byte {
	lines := bytes.Split(bytes.TrimSpace(output), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-count):], []byte("\n"))
}
