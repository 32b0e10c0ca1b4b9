package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Fuse proves that a privileged container can mount a file system by FUSE and keeps it mounted until
// another container of the pod has seen it (Mounted).
type Fuse struct {
	// Device is the node's /dev/fuse.
	Device string `json:"device"`
	// Dir is a volume that is mounted with Bidirectional propagation.
	Dir string `json:"dir"`
	// Seconds to wait for the other container; 20 if 0.
	Seconds int `json:"seconds,omitempty"`
}

// Cause is the fact that says why a mount failed.
const Cause = "cause"

// The causes.
const (
	// CauseDevice: the node has no FUSE device.
	CauseDevice = "device"
	// CauseMount: the container may not mount.
	CauseMount = "mount"
	// CausePropagation: the mount is not seen outside the container.
	CausePropagation = "propagation"
)

func (f *Fuse) run(ctx context.Context, facts Facts) error {
	info, err := os.Stat(f.Device)
	if err == nil && info.Mode()&os.ModeCharDevice == 0 {
		err = errors.New("it is no device, so the node has no fuse module")
	}
	var device *os.File
	if err == nil {
		device, err = os.OpenFile(f.Device, os.O_RDWR, 0)
	}
	if err != nil {
		facts[Cause] = CauseDevice
		return fmt.Errorf("open %s: %w", f.Device, plainPath(err))
	}
	defer func() { _ = device.Close() }()
	point := filepath.Join(f.Dir, "mounted")
	if err := os.MkdirAll(point, 0o755); err != nil {
		return err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())
	if err := unix.Mount("neutree-preflight", point, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		facts[Cause] = CauseMount
		return fmt.Errorf("mount a file system by FUSE: %w", err)
	}
	// Nobody serves the file system: who looks into it would hang, so it goes by name alone.
	defer func() { _ = unix.Unmount(point, unix.MNT_DETACH) }()
	ctx, cancel := context.WithTimeout(ctx, seconds(f.Seconds, 20*time.Second))
	defer cancel()
	for {
		if _, err := os.Stat(filepath.Join(f.Dir, "seen")); err == nil {
			return nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			facts[Cause] = CausePropagation
			return errors.New("a file system that one container mounts is not seen by another")
		}
	}
}

// Mounted waits until the volume shows the file system that Fuse mounts there.
type Mounted struct {
	// Dir is the volume of Fuse, mounted with HostToContainer propagation.
	Dir string `json:"dir"`
	// Seconds to wait; 20 if 0.
	Seconds int `json:"seconds,omitempty"`
}

func (m *Mounted) run(ctx context.Context, facts Facts) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(m.Seconds, 20*time.Second))
	defer cancel()
	for {
		content, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err
		}
		if mountedFuse(string(content), filepath.Join(m.Dir, "mounted")) {
			return os.WriteFile(filepath.Join(m.Dir, "seen"), nil, 0o644)
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			facts[Cause] = CausePropagation
			return errors.New("the file system that the other container mounts is not seen here")
		}
	}
}

// mountedFuse tells whether a mountinfo names a FUSE file system at a path.
func mountedFuse(mountinfo, path string) bool {
	for _, line := range strings.Split(mountinfo, "\n") {
		before, after, found := strings.Cut(line, " - ")
		if fields := strings.Fields(before); found && len(fields) > 4 && fields[4] == path && strings.HasPrefix(after, "fuse") {
			return true
		}
	}
	return false
}

// plainPath is err without the path, which the message names already.
func plainPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
