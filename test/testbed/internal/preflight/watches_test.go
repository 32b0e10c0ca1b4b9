package preflight

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What is left is found out, and given back.
func TestInstances(t *testing.T) {
	left := 5
	create := func() (int, error) {
		if left == 0 {
			return -1, unix.EMFILE
		}
		left--
		return unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if got, err := instances(3, create); got != 3 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if got, err := instances(3, create); got != 2 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := instances(1, func() (int, error) { return -1, unix.ENOSYS }); err == nil {
		t.Error("a kernel without inotify passes")
	}
}
