// Package device checks what a container was given of its node: devices and volumes.
package device

import (
	"fmt"
	"os"
)

const fuse = "/dev/fuse"

// CheckFuse refuses a container that could not mount a file system of its own.
func CheckFuse() error { return checkFuse(fuse, os.Geteuid()) }

func checkFuse(path string, uid int) error {
	if uid != 0 {
		return fmt.Errorf("mounting needs root in a privileged container, and this one runs as uid %d", uid)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("no %s: the node's must be mounted from the host: %w", path, err)
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return fmt.Errorf("%s is no device: the node has no fuse module, and the kubelet made a directory", path)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w (the container must be privileged)", path, err)
	}
	return file.Close()
}

// CheckWritable refuses a directory in which no file can be made.
func CheckWritable(dir string) error {
	file, err := os.CreateTemp(dir, ".write-check-")
	if err != nil {
		return fmt.Errorf("%s is not writable by uid %d: %w", dir, os.Geteuid(), err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	return os.Remove(file.Name())
}
