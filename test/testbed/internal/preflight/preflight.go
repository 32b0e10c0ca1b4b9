// Package preflight finds out whether a machine can run the testbed, and says what is missing where it cannot.
package preflight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/debian"
)

// Namespaces are those that every member of a testbed has to itself.
const Namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC

// Root refuses anybody but root.
func Root() error {
	if os.Geteuid() != 0 {
		return errors.New("the testbed makes namespaces, mounts and control groups, which only root may: run it as root (sudo)")
	}
	return nil
}

// packages are Debian's that the nodes run, and that this program calls.
func packages() []string {
	return []string{
		"containerd", "runc", "containernetworking-plugins", "nftables", "iptables", "ipset", "socat", "ethtool",
		"conntrack", "iproute2", "kmod",
	}
}

// Prepare installs what is missing, and refuses a machine on which the testbed cannot run.
func Prepare(ctx context.Context, log *slog.Logger, groups cgroup.Hierarchies, stateDir string) error {
	if missing := groups.Missing(); missing != "" {
		return fmt.Errorf("this machine cannot run the testbed: %s", missing)
	}
	if err := Install(ctx, log); err != nil {
		return err
	}
	return probe(ctx, stateDir)
}

// Install installs the packages and loads the kernel modules that are missing, all that a testbed leaves on a machine.
func Install(ctx context.Context, log *slog.Logger) error {
	if err := debian.Install(ctx, log, packages()...); err != nil {
		return err
	}
	return loadModules(ctx)
}

// ForeignRoute refuses a machine that has a route of its own inside the network that its testbeds use. Whether a link
// belongs to a testbed, ours says.
func ForeignRoute(cidr string, ours func(link string) bool) error {
	_, reserved, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the routes: %w", err)
	}
	for _, route := range routes {
		if route.Dst == nil || !reserved.Contains(route.Dst.IP) {
			continue
		}
		name := fmt.Sprintf("link %d", route.LinkIndex)
		if link, err := netlink.LinkByIndex(route.LinkIndex); err == nil {
			name = link.Attrs().Name
		}
		if !ours(name) {
			return fmt.Errorf("the machine has a route of its own to %s (%s), inside %s which testbeds use: remove it first", route.Dst, name, cidr)
		}
	}
	return nil
}

// ProbeCommand is the command of this program that probe runs: it calls Inside.
const ProbeCommand = "probe"

// probe tries everything the testbed needs of the kernel, in namespaces that end with it.
func probe(ctx context.Context, stateDir string) error {
	scratch, err := os.MkdirTemp(stateDir, "probe-")
	if err != nil {
		return fmt.Errorf("make a directory to try things in: %w", err)
	}
	defer os.RemoveAll(scratch)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	var out, errs bytes.Buffer
	command := exec.CommandContext(ctx, self, ProbeCommand, scratch)
	command.Stdout, command.Stderr = &out, &errs
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: Namespaces}
	if err := command.Start(); err != nil {
		return fmt.Errorf("this machine cannot run the testbed: it lets nobody make mount, PID, network, UTS and IPC namespaces: %w", err)
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("try what the kernel can do: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	if missing := strings.TrimSpace(out.String()); missing != "" {
		return fmt.Errorf("this machine cannot run the testbed, for it lacks:\n%s", missing)
	}
	return nil
}

// modules are what the testbed uses of a kernel, where it is not built in.
func modules() []string {
	return []string{"overlay", "veth", "bridge", bridgeFilter, "nf_tables", "nf_conntrack", "nf_nat"}
}

const (
	bridgeFilter = "br_netfilter"
	bridgeSysctl = "/proc/sys/net/bridge"
)

// loadModules loads those that are missing. Whether a kernel then has what it takes, the probe finds out.
func loadModules(ctx context.Context) error {
	_, err := os.Stat(bridgeSysctl)
	absent := errors.Is(err, os.ErrNotExist)
	for _, module := range modules() {
		_ = exec.CommandContext(ctx, "modprobe", "--quiet", module).Run()
	}
	if !absent {
		return nil
	}
	return keepBridges(bridgeSysctl)
}

// keepBridges keeps the bridges of the machine itself as they were: loading br_netfilter makes their packets pass
// its firewall.
func keepBridges(dir string) error {
	for _, protocol := range []string{"arptables", "iptables", "ip6tables"} {
		path := filepath.Join(dir, "bridge-nf-call-"+protocol)
		if err := os.WriteFile(path, []byte("0"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("keep the machine's own bridges as they are: %w", err)
		}
	}
	return nil
}

// listed joins what is missing into lines, in order.
func listed(missing []string) string {
	slices.Sort(missing)
	return strings.Join(missing, "\n")
}
