package preflight

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Instances of inotify that a testbed takes, counted with the platform on it and rounded up. Those of all testbeds are
// one user's, and Debian's kernel gives each user 128.
const (
	hubWatches  = 10
	nodeWatches = 7
)

// Watches refuses a testbed for which the machine has not enough instances of inotify left: a kubelet without one never
// gets its node ready, and does not end either.
func Watches(nodes int) error {
	needed := hubWatches + nodes*nodeWatches
	got, err := instances(needed, func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC) })
	if err != nil {
		return err
	}
	if got < needed {
		return fmt.Errorf("no room for a testbed of %d node(s): it takes %d instances of inotify, and the machine has %d left: "+
			"take another testbed down, or raise the limit (sysctl -w fs.inotify.max_user_instances=1024)", nodes, needed, got)
	}
	return nil
}

// instances makes up to as many as are needed, gives them back, and returns how many there were.
func instances(needed int, create func() (int, error)) (int, error) {
	var made []int
	defer func() {
		for _, descriptor := range made {
			_ = unix.Close(descriptor)
		}
	}()
	for len(made) < needed {
		descriptor, err := create()
		if errors.Is(err, unix.EMFILE) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("find out how many instances of inotify are left: %w", err)
		}
		made = append(made, descriptor)
	}
	return len(made), nil
}
