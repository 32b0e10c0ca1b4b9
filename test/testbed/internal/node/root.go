package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/neutree-ai/packaging/test/testbed/internal/member"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// enterRoot gives the node a root directory of its own, so that all its programs use the paths they use on any
// machine, and nothing outside the state directory is written: programs come from the host's /usr, /etc is the host's
// with the node's changes above it, /var and /tmp are the node's alone.
func enterRoot(c *plan.Cluster, name string) error {
	if err := member.MakePrivate(); err != nil {
		return err
	}
	base := filepath.Join(c.Member(name), "root")
	root := filepath.Join(base, "mount")
	for _, dir := range []string{root, filepath.Join(base, "var"), filepath.Join(base, "tmp"), filepath.Join(base, "etc"), filepath.Join(base, "etc-work")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := member.MountTmpfs(root, "mode=755,size=16m"); err != nil {
		return err
	}
	if err := fillRoot(c, base, root); err != nil {
		return err
	}
	return pivot(root)
}

func fillRoot(c *plan.Cluster, base, root string) error {
	for _, name := range []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if err := copySystemDir("/"+name, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	binds := [][2]string{
		{filepath.Join(base, "var"), "var"}, {filepath.Join(base, "tmp"), "tmp"},
		{"/dev", "dev"}, {"/sys", "sys"},
	}
	for _, dir := range outside(c) {
		binds = append(binds, [2]string{dir, dir})
	}
	for _, b := range binds {
		if err := bind(b[0], filepath.Join(root, b[1])); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777); err != nil {
		return err
	}
	for _, name := range []string{"etc", "proc", "run", "root", "mnt"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", filepath.Join(base, "etc"), filepath.Join(base, "etc-work"))
	if err := unix.Mount("overlay", filepath.Join(root, "etc"), "overlay", 0, layers); err != nil {
		return fmt.Errorf("lay the node's /etc over the host's (%s): %w", layers, err)
	}
	if err := member.MountTmpfs(filepath.Join(root, "run"), "mode=755"); err != nil {
		return err
	}
	if err := os.Symlink("/run", filepath.Join(base, "var", "run")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := member.MountProc(filepath.Join(root, "proc")); err != nil {
		return err
	}
	return coverSettings(filepath.Join(root, "proc/sys"), filepath.Join(root, "run/kernel"), func(from, to string) error {
		return unix.Mount(from, to, "", unix.MS_BIND, "")
	})
}

// kernelSettings are those that kubelet insists on, and changes where they differ. They are of the whole machine.
func kernelSettings() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// coverSettings puts files in front of the kernel's in sysctl that show what kubelet wants, so that it leaves the
// machine's own settings alone.
func coverSettings(sysctl, dir string, mount func(from, to string) error) error {
	for path, value := range kernelSettings() {
		setting := filepath.Join(sysctl, path)
		if _, err := os.Stat(setting); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		cover := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(cover), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(cover, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(cover, setting); err != nil {
			return fmt.Errorf("keep the machine's %s from kubelet: %w", path, err)
		}
	}
	return nil
}

// outside are the directories that a node shares with the host: the state directory, in which the volumes are, and
// those of the programs.
func outside(c *plan.Cluster) []string {
	dirs := []string{c.StateDir}
	for _, path := range c.Binaries {
		if dir := filepath.Dir(path); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// copySystemDir makes what is at a path of the host be at one of the node: a directory is bound there, read-only; a
// symbolic link is made anew.
func copySystemDir(from, to string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if err := bind(from, to); err != nil {
		return err
	}
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only for the node: %w", from, err)
	}
	return nil
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s to the node as %s: %w", from, to, err)
	}
	return nil
}

// pivot makes root the root directory and forgets the old one. Its mounts are then shared, as kubelet needs to pass
// on those that a pod makes.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change to the node's root directory %s: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root directory: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the node's mounts: %w", err)
	}
	return nil
}
