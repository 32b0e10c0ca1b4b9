//go:build e2e

package lifetime

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// machine is what a testbed could change of the machine that it runs on.
type machine struct {
	// Namespaces are the PID namespaces, besides our own, that some process lives in. Everything that a testbed
	// starts lives in one that it made.
	Namespaces []string
	Mounts     []string
	Links      []string
	Routes     []string
	Filters    string
	Groups     []string
	Files      []string
	Sysctls    map[string]string
}

// look takes stock, of all but what carries the names of other testbeds: those come and go beside this one.
func look(t *testing.T) machine {
	t.Helper()
	return machine{
		Namespaces: foreignNamespaces(t),
		Mounts:     lines(t, "/proc/self/mounts"),
		Links:      slices.DeleteFunc(command(t, "ip", "-brief", "address"), ofAnother),
		Routes:     slices.DeleteFunc(command(t, "ip", "route", "show", "table", "all"), ofAnother),
		Filters:    strings.Join(command(t, "nft", "list", "ruleset"), "\n"),
		Groups:     groups(t),
		Files: present(filepath.Join(base, own), "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/etc/cni/net.d",
			"/etc/kubernetes", "/opt/cni", "/run/containerd", "/run/netns", "/run/neutree-network-policy.sock", "/var/run/kubernetes"),
		Sysctls: sysctls(t),
	}
}

// ofAnother reports whether a line of ip is about the link of another testbed.
func ofAnother(line string) bool {
	return strings.Contains(line, "tb-") && !strings.Contains(line, "tb-"+own)
}

// same fails where the machine does not come to be as it was: another testbed that is brought up beside this one tries
// things in namespaces of a moment.
func same(t *testing.T, before machine) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		after := look(t)
		// What else runs on this machine may end meanwhile.
		before.Namespaces = slices.DeleteFunc(before.Namespaces, func(namespace string) bool {
			return !slices.Contains(after.Namespaces, namespace)
		})
		if diff = cmp.Diff(before, after); diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the testbed left something behind (-before +after):\n%s", diff)
			return
		}
	}
}

// foreignNamespaces are the PID namespaces of processes that are neither in this one nor in a control group of another
// testbed.
func foreignNamespaces(t *testing.T) []string {
	t.Helper()
	mine, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		// What has ended counts no more, even where the machine's init has yet to take note.
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := supervise.Identify(pid); err != nil {
			continue
		}
		group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || strings.Contains(string(group), "/neutree-testbed/") && !strings.Contains(string(group), "/neutree-testbed/"+own+"/") {
			continue
		}
		if namespace, err := os.Readlink(link); err == nil && namespace != mine {
			found = append(found, namespace)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(strings.Lines(string(data)))
}

func command(t *testing.T, name string, args ...string) []string {
	t.Helper()
	output, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return slices.Sorted(strings.Lines(string(output)))
}

// groups are the control groups of these tests' testbed.
func groups(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/neutree-testbed/" + own, "/sys/fs/cgroup/*/neutree-testbed/" + own} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	return found
}

func present(paths ...string) []string {
	var found []string
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			found = append(found, path)
			_ = filepath.WalkDir(path, func(below string, _ fs.DirEntry, err error) error {
				if err == nil {
					found = append(found, below)
				}
				return nil
			})
		}
	}
	return found
}

func sysctls(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, path := range []string{"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/ipv4/conf/all/route_localnet", "net/netfilter/nf_conntrack_max", "vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"} {
		// Not every kernel has each.
		if data, err := os.ReadFile("/proc/sys/" + path); err == nil {
			values[path] = string(data)
		}
	}
	return values
}
