package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseMounts(t *testing.T) {
	for name, test := range map[string]struct {
		mounts  string
		want    Hierarchies
		unified bool
		missing string
	}{
		"version 1 beside an empty version 2": {
			mounts: `tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
`,
			want: Hierarchies{
				V1:          []string{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"},
				Controllers: []string{"rw", "relatime", "cpu", "cpuacct", "rw", "cpuset", "rw", "memory", "rw", "pids"},
				V2:          "/sys/fs/cgroup/unified",
			},
		},
		"version 1 without memory": {
			mounts: "cgroup /c/cpu cgroup rw,cpu 0 0\ncgroup /c/cpuset cgroup rw,cpuset 0 0\ncgroup /c/pids cgroup rw,pids 0 0\n",
			want: Hierarchies{
				V1:          []string{"/c/cpu", "/c/cpuset", "/c/pids"},
				Controllers: []string{"rw", "cpu", "rw", "cpuset", "rw", "pids"},
			},
			missing: "it lacks the control group controllers memory",
		},
		"none": {
			mounts:  "proc /proc proc rw 0 0\n",
			missing: "no control groups are mounted below /sys/fs/cgroup",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseMounts(strings.NewReader(test.mounts))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("hierarchies (-want +got):\n%s", diff)
			}
			if got.Unified() {
				t.Error("counts as version 2 alone")
			}
			if missing := got.Missing(); missing != test.missing {
				t.Errorf("missing: got %q, want %q", missing, test.missing)
			}
		})
	}
}

func TestVersion2(t *testing.T) {
	root := t.TempDir()
	h, err := parseMounts(strings.NewReader("cgroup2 " + root + " cgroup2 rw 0 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !h.Unified() {
		t.Error("does not count as version 2 alone")
	}
	write(t, filepath.Join(root, "cgroup.controllers"), "cpuset cpu io memory\n")
	if missing := h.Missing(); missing != "it lacks the control group controllers pids" {
		t.Errorf("missing: %q", missing)
	}
}

// A plain directory stands for a hierarchy: what is written to it can be read back.
func TestCreateFillsTheProcessorSet(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "cpuset.cpus"), "0-1\n")
	write(t, filepath.Join(root, "cpuset.mems"), "0\n")
	other := t.TempDir()
	h := Hierarchies{Testbed: "one", V1: []string{root, other}}
	for range 2 {
		if err := h.Create("node1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, group := range []string{parent, parent + "/one", parent + "/one/node1", parent + "/one/node1/system"} {
		for file, want := range map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n"} {
			got, err := os.ReadFile(filepath.Join(root, group, file))
			if err != nil || string(got) != want {
				t.Errorf("%s of %s: got %q, %v", file, group, got, err)
			}
		}
		if _, err := os.Stat(filepath.Join(other, group)); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(other, group, "cpuset.cpus")); err == nil {
			t.Errorf("%s got a processor set in a hierarchy that has none", group)
		}
	}
}

// Under version 2 a group's controllers are those that the group above passes on.
func TestCreatePassesControllersOn(t *testing.T) {
	root := t.TempDir()
	h := Hierarchies{Testbed: "one", V2: root}
	// The kernel fills this file of each new group; here it must be there before.
	for _, group := range []string{"", parent, parent + "/one", parent + "/one/node1", parent + "/one/node1/system"} {
		write(t, filepath.Join(root, group, "cgroup.controllers"), "memory\n")
	}
	if err := h.Create("node1"); err != nil {
		t.Fatal(err)
	}
	for group, want := range map[string]bool{
		"": true, parent: true, parent + "/one": true, parent + "/one/node1": true, parent + "/one/node1/system": false,
	} {
		got, err := os.ReadFile(filepath.Join(root, group, "cgroup.subtree_control"))
		if (err == nil) != want || want && string(got) != "+memory" {
			t.Errorf("%q passes on %q, %v", group, got, err)
		}
	}
}

func TestProcessesAreFoundInEveryGroup(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	h := Hierarchies{Testbed: "one", V1: []string{one}, V2: other}
	write(t, filepath.Join(one, parent, "one/node1/system/cgroup.procs"), "12\n0\n7\n")
	write(t, filepath.Join(one, parent, "one/node1/kubepods/pod/cgroup.procs"), "30\n")
	write(t, filepath.Join(one, parent, "one/node2/system/cgroup.procs"), "99\n")
	write(t, filepath.Join(other, parent, "one/cgroup.procs"), "7\n1000\n")
	write(t, filepath.Join(one, parent, "another/node1/system/cgroup.procs"), "555\n")
	for member, want := range map[string][]int{"": {7, 12, 30, 99, 1000}, "node1": {7, 12, 30}, "gone": nil} {
		got, err := h.Processes(member)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("processes of %q (-want +got):\n%s", member, diff)
		}
	}
}

// The groups of another testbed, and so the parent group, stay. Plain directories stand for control groups, so there are
// no files in them here.
func TestRemoveLeavesOtherTestbedsAlone(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	one := Hierarchies{Testbed: "one", V1: []string{v1}, V2: v2}
	another := Hierarchies{Testbed: "another", V1: []string{v1}, V2: v2}
	for _, h := range []Hierarchies{one, another} {
		if err := h.Create("node1"); err != nil {
			t.Fatal(err)
		}
		// Where both versions are mounted, the runtime makes groups in the second as well.
		if err := os.MkdirAll(filepath.Join(v2, h.group("node1"), "kubepods"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(path ...string) bool {
		_, err := os.Stat(filepath.Join(path...))
		return err == nil
	}
	if err := one.Remove("", time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{v1, v2} {
		if exists(root, one.group("")) || !exists(root, another.group("node1")) {
			t.Errorf("%s: one is there: %t, another: %t", root, exists(root, one.group("")), exists(root, another.group("node1")))
		}
	}
	if err := another.Remove("", time.Minute); err != nil {
		t.Fatal(err)
	}
	if exists(v1, parent) || exists(v2, parent) {
		t.Error("the parent group outlives the last testbed")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
