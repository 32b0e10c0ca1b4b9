// Package cgroup keeps all processes of a testbed in a control group of their own, in every hierarchy, which is how
// they are found again when nothing else remembers them. The group carries the testbed's name, since the hierarchies
// of a machine are shared by all testbeds: no namespace hides one from another.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// parent is the group of all testbeds, below the root of each hierarchy.
const parent = "neutree-testbed"

// Hierarchies are the mounted hierarchies: one for version 2, one per controller for version 1.
type Hierarchies struct {
	// Testbed is the name of the testbed whose groups are meant.
	Testbed string
	// V1 are mount points of version 1 hierarchies.
	V1 []string
	// Controllers are those of the version 1 hierarchies.
	Controllers []string
	// V2 is the mount point of the version 2 hierarchy, or empty.
	V2 string
}

// Unified reports whether version 2 alone is in use. Where both are mounted, Kubernetes uses version 1.
func (h Hierarchies) Unified() bool { return len(h.V1) == 0 && h.V2 != "" }

// Mounted finds the hierarchies, for the groups of the named testbed.
func Mounted(testbed string) (Hierarchies, error) {
	file, err := os.Open("/proc/self/mounts")
	if err != nil {
		return Hierarchies{}, fmt.Errorf("find the control groups: %w", err)
	}
	defer file.Close()
	h, err := parseMounts(file)
	h.Testbed = testbed
	return h, err
}

func parseMounts(mounts io.Reader) (Hierarchies, error) {
	var h Hierarchies
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			continue
		}
		switch fields[2] {
		case "cgroup":
			h.V1 = append(h.V1, fields[1])
			h.Controllers = append(h.Controllers, strings.Split(fields[3], ",")...)
		case "cgroup2":
			h.V2 = fields[1]
		}
	}
	if err := lines.Err(); err != nil {
		return h, fmt.Errorf("find the control groups: %w", err)
	}
	return h, nil
}

// Missing says what kubelet lacks of the hierarchies; it is empty where nothing is missing.
func (h Hierarchies) Missing() string {
	if len(h.V1) == 0 && h.V2 == "" {
		return "no control groups are mounted below /sys/fs/cgroup"
	}
	available := h.Controllers
	if h.Unified() {
		data, err := os.ReadFile(filepath.Join(h.V2, "cgroup.controllers"))
		if err != nil {
			return err.Error()
		}
		available = strings.Fields(string(data))
	}
	var missing []string
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids"} {
		if !slices.Contains(available, controller) {
			missing = append(missing, controller)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "it lacks the control group controllers " + strings.Join(missing, ", ")
}

// used are the hierarchies that the testbed makes groups in.
func (h Hierarchies) used() []string {
	if h.Unified() {
		return []string{h.V2}
	}
	return h.V1
}

// all are the hierarchies that a group of the testbed may be in.
func (h Hierarchies) all() []string {
	if h.V2 == "" {
		return h.V1
	}
	return append(slices.Clone(h.V1), h.V2)
}

// Path is the group of a member of a testbed, in the form that kubelet's configuration takes.
func Path(testbed, member string) string { return "/" + path.Join(parent, testbed, member) }

// group is the testbed's group, or a member's when it is named, relative to the root of a hierarchy.
func (h Hierarchies) group(member string) string { return filepath.Join(parent, h.Testbed, member) }

// processes is the group, in a member's, that its programs run in: under version 2 a group holds either processes or
// other groups, and a node's holds its pods' too.
const processes = "system"

// Create makes the groups of a member.
func (h Hierarchies) Create(member string) error {
	for _, root := range h.used() {
		for attempt := 1; ; attempt++ {
			err := h.createBranch(root, member)
			if err == nil {
				break
			}
			// The end of the last other testbed takes the parent group along.
			if attempt == createAttempts || !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

const createAttempts = 10

func (h Hierarchies) createBranch(root, member string) error {
	for _, group := range []string{parent, h.group(""), h.group(member), filepath.Join(h.group(member), processes)} {
		if err := h.create(root, group); err != nil {
			return fmt.Errorf("create control group %s: %w", filepath.Join(root, group), err)
		}
	}
	return nil
}

func (h Hierarchies) create(root, group string) error {
	dir := filepath.Join(root, group)
	if h.Unified() {
		if err := delegate(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if h.Unified() {
		return nil
	}
	// A new group of the cpuset controller takes no process until it is told which processors and memory it has.
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		if err := inherit(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func inherit(dir, name string) error {
	value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), value, 0o644)
}

// delegate lets the groups below dir use all controllers that dir has.
func delegate(dir string) error {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(available)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("enable the controller %s (processes in that very group forbid it): %w", controller, err)
		}
	}
	return nil
}

// Add moves a process into a member's groups.
func (h Hierarchies) Add(member string, pid int) error {
	for _, root := range h.used() {
		file := filepath.Join(root, h.group(member), processes, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("move process %d into a control group: %w", pid, err)
		}
	}
	return nil
}

// Processes are all processes of the testbed, or of one member when it is named.
func (h Hierarchies) Processes(member string) ([]int, error) {
	seen := map[int]bool{}
	for _, root := range h.all() {
		if err := h.walk(filepath.Join(root, h.group(member)), func(dir string) error {
			pids, err := read(filepath.Join(dir, "cgroup.procs"))
			for _, pid := range pids {
				seen[pid] = true
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	var pids []int
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}

// Remove kills what is left in the testbed's groups, or in one member's when it is named, and removes them. The parent
// group goes with the last testbed.
func (h Hierarchies) Remove(member string, within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		pids, err := h.Processes(member)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if pid == os.Getpid() {
				return fmt.Errorf("this process is in the testbed's control group %s: run it outside", h.group(member))
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		last := error(nil)
		for _, root := range h.all() {
			last = errors.Join(last, h.removeTree(filepath.Join(root, h.group(member))))
		}
		expired := time.Now().After(deadline)
		if last == nil && (len(pids) == 0 || expired) {
			return h.removeParent()
		}
		if expired {
			return fmt.Errorf("control groups are still in use after %s: %w (processes %v)", within, last, pids)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeParent leaves the parent group where another testbed has groups in it.
func (h Hierarchies) removeParent() error {
	for _, root := range h.all() {
		err := os.Remove(filepath.Join(root, parent))
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENOTEMPTY) {
			continue
		}
		return fmt.Errorf("remove control group %s: %w", filepath.Join(root, parent), err)
	}
	return nil
}

func (h Hierarchies) removeTree(top string) error {
	var dirs []string
	if err := h.walk(top, func(dir string) error {
		dirs = append(dirs, dir)
		return nil
	}); err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// walk visits a group and all below it, parents first. Groups vanish while it looks, which is fine.
func (h Hierarchies) walk(top string, visit func(dir string) error) error {
	return filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = visit(path)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			return nil
		}
		return err
	})
}

// read lists the processes in a file of a group. One that another PID namespace owns reads as 0.
func read(file string) ([]int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, line := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
