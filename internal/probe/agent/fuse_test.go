package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoFuseDevice(t *testing.T) {
	dir := t.TempDir()
	for device, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		dir:                        "it is no device",
	} {
		got := runOne(t, Task{Fuse: &Fuse{Device: device, Dir: dir}})
		if got.Facts[Cause] != CauseDevice || !strings.Contains(got.Error, want) {
			t.Errorf("%s: %+v", device, got)
		}
	}
}

func TestMountIsSeen(t *testing.T) {
	const mountinfo = `36 35 98:0 / /volume rw,noatime shared:1 - ext4 /dev/root rw
40 36 0:50 / /volume/mounted rw,nosuid,nodev shared:2 master:1 - fuse neutree-preflight rw,user_id=0
41 36 0:51 / /other/mounted rw - tmpfs tmpfs rw
`
	for path, want := range map[string]bool{"/volume/mounted": true, "/other/mounted": false, "/volume": false, "/none": false} {
		if got := mountedFuse(mountinfo, path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}

// Without a mount that comes, both sides say so.
func TestMountIsNotSeen(t *testing.T) {
	dir := t.TempDir()
	got := runOne(t, Task{Mounted: &Mounted{Dir: dir, Seconds: 1}})
	if got.Facts[Cause] != CausePropagation {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "seen")); !os.IsNotExist(err) {
		t.Error(err)
	}
}
