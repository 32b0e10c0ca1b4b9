//go:build e2e

package lifetime

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

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

// look takes stock.
func look(t *testing.T) machine {
	t.Helper()
	return machine{
		Namespaces: foreignNamespaces(t),
		Mounts:     lines(t, "/proc/self/mounts"),
		Links:      command(t, "ip", "-brief", "address"),
		Routes:     command(t, "ip", "route", "show", "table", "all"),
		Filters:    strings.Join(command(t, "nft", "list", "ruleset"), "\n"),
		Groups:     groups(t),
		Files:      present("/var/lib/neutree-testbed", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/etc/cni/net.d", "/etc/kubernetes", "/opt/cni", "/run/containerd", "/run/netns", "/run/neutree-network-policy.sock", "/var/run/kubernetes"),
		Sysctls:    sysctls(t),
	}
}

// same fails where the machine is not as it was.
func same(t *testing.T, before machine) {
	t.Helper()
	after := look(t)
	// What else runs on this machine may end meanwhile.
	before.Namespaces = slices.DeleteFunc(before.Namespaces, func(namespace string) bool {
		return !slices.Contains(after.Namespaces, namespace)
	})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the testbed left something behind (-before +after):\n%s", diff)
	}
}

func foreignNamespaces(t *testing.T) []string {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/pid")
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
		if namespace, err := os.Readlink(link); err == nil && namespace != own {
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

// groups are the testbed's control groups.
func groups(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/neutree-testbed", "/sys/fs/cgroup/*/neutree-testbed"} {
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
