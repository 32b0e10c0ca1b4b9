package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/preflight"
)

const (
	readyWithin  = 3 * time.Minute
	removeWithin = 20 * time.Second
)

// Down removes the testbed, whatever is left of it, and fails when something remains.
func (t *Testbed) Down(ctx context.Context) error {
	if err := preflight.Root(); err != nil {
		return err
	}
	groups, err := cgroup.Mounted(t.Name)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, t.Log, t.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	defer t.forgetEmpty()
	if err := refuseForeign(t.StateDir); err != nil {
		return err
	}
	if err := t.clear(groups); err != nil {
		return err
	}
	if err := os.Remove(t.StateDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the state directory: %w", err)
	}
	return nil
}

// clear ends the testbed's processes and removes everything of it but its state directory, which is locked.
func (t *Testbed) clear(groups cgroup.Hierarchies) error {
	if err := t.refuseOther(groups); err != nil {
		return err
	}
	state, err := readState(t.StateDir)
	if err != nil {
		t.Log.Warn("the state cannot be read: finding the processes by their control group", "error", err)
	} else {
		for _, identity := range state.Members {
			if err := identity.Kill(); err != nil {
				return err
			}
		}
	}
	if err := groups.Remove("", removeWithin); err != nil {
		return err
	}
	if err := removeLink(t.Name); err != nil {
		return err
	}
	if err := unmountBelow(t.StateDir); err != nil {
		return err
	}
	entries, err := os.ReadDir(t.StateDir)
	if err != nil {
		return fmt.Errorf("clear the state directory: %w", err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(t.StateDir, entry.Name())); err != nil {
			return fmt.Errorf("clear the state directory: %w", err)
		}
	}
	return nil
}

// refuseForeign refuses a state directory that holds anything but a testbed's files, all of which are removed with it:
// somebody may have named one of their own.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into the state directory: %w", err)
	}
	for _, entry := range entries {
		if !owns(entry.Name()) {
			return fmt.Errorf("%s is not the testbed's, which removes everything in its state directory: move it away, or name another directory in NEUTREE_TESTBED_STATE", filepath.Join(dir, entry.Name()))
		}
	}
	return nil
}

// owns reports whether a testbed makes a file of that name in its state directory.
func owns(name string) bool {
	return slices.ContainsFunc([]string{
		"bin", "images.json*", "kubeconfig*", "members", "pki", "plan.json", "probe-*", "pushed", "registry", "state.json*", "volumes",
	}, func(pattern string) bool {
		match, err := filepath.Match(pattern, name)
		return err == nil && match
	})
}

// forgetEmpty removes the state directory where nothing came of it, and the base directory with the last of them; one
// with something in it stays.
func (t *Testbed) forgetEmpty() {
	_ = os.Remove(t.StateDir)
	_ = os.Remove(t.Base)
}

// refuseOther refuses to touch a testbed of the same name with another state directory, which has the same control
// groups.
func (t *Testbed) refuseOther(groups cgroup.Hierarchies) error {
	pids, err := groups.Processes("")
	if err != nil {
		return err
	}
	for _, pid := range pids {
		// Whatever has ended meanwhile belongs to nobody.
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		other := stateOf(strings.Split(string(command), "\x00"))
		if other == "" || other == t.StateDir {
			continue
		}
		if _, err := os.Stat(other); err == nil {
			return fmt.Errorf("a testbed called %s with another state directory is running: choose another name, or run NEUTREE_TESTBED_STATE=%s testbed %sdown first",
				t.Name, filepath.Dir(other), t.flag())
		}
	}
	return nil
}

// stateOf is the state directory in the command of a member, or empty.
func stateOf(command []string) string {
	for i, argument := range command {
		if argument == "--state" && i+1 < len(command) {
			return command[i+1]
		}
	}
	return ""
}

// unmountBelow unmounts what is mounted below dir in this mount namespace. The members mount in their own only, so
// there is something only where that failed.
func unmountBelow(dir string) error {
	file, err := os.Open("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("list the mounts: %w", err)
	}
	defer file.Close()
	points, err := mountsBelow(file, dir)
	if err != nil {
		return fmt.Errorf("list the mounts: %w", err)
	}
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

func mountsBelow(mounts io.Reader, dir string) ([]string, error) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		if point := unescape.Replace(fields[1]); strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	return points, lines.Err()
}
