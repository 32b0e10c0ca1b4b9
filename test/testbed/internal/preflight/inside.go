package preflight

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutree-ai/packaging/test/testbed/internal/member"
)

// Inside tries what a testbed needs, in namespaces of its own and with a scratch directory, and writes a line for
// each thing that is missing.
func Inside(scratch string, out io.Writer) error {
	var missing []string
	for name, try := range map[string]func(string) error{
		"bridges (kernel module bridge)":                                        tryBridge,
		"pairs of links (kernel module veth)":                                   tryVeth,
		"packet filters on bridges (kernel module br_netfilter)":                tryBridgeFilter,
		"nftables (kernel module nf_tables)":                                    tryNFTables,
		"network address translation by iptables (kernel modules nf_nat, xt_*)": tryNAT,
	} {
		if err := try(scratch); err != nil {
			missing = append(missing, fmt.Sprintf("  %s: %v", name, err))
		}
	}
	if err := tryMounts(scratch); err != nil {
		missing = append(missing, fmt.Sprintf("  mounts in a mount namespace: %v", err))
	} else if err := tryOverlay(scratch); err != nil {
		missing = append(missing, fmt.Sprintf("  overlay file systems on the state directory's disk (kernel module overlay): %v", err))
	}
	_, err := io.WriteString(out, listed(missing))
	return err
}

func tryMounts(scratch string) error {
	if err := member.MakePrivate(); err != nil {
		return err
	}
	proc := filepath.Join(scratch, "proc")
	if err := os.Mkdir(proc, 0o755); err != nil {
		return err
	}
	if err := member.MountProc(proc); err != nil {
		return err
	}
	return unix.Unmount(proc, 0)
}

func tryOverlay(scratch string) error {
	for _, name := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(scratch, name), 0o755); err != nil {
			return err
		}
	}
	merged := filepath.Join(scratch, "merged")
	layers := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", filepath.Join(scratch, "upper"), filepath.Join(scratch, "work"))
	if err := unix.Mount("overlay", merged, "overlay", 0, layers); err != nil {
		return err
	}
	return unix.Unmount(merged, 0)
}

func tryBridge(string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "probe-bridge"
	return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes})
}

func tryVeth(string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "probe-one"
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "probe-other"})
}

func tryBridgeFilter(string) error {
	_, err := os.Stat(filepath.Join(bridgeSysctl, "bridge-nf-call-iptables"))
	return err
}

func tryNFTables(string) error {
	return run("nft", "add", "table", "ip", "probe")
}

func tryNAT(string) error {
	return run("iptables", "--wait", "--table", "nat", "--append", "POSTROUTING", "--match", "conntrack", "--ctstate", "NEW", "--jump", "MASQUERADE")
}

func run(name string, args ...string) error {
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return nil
}
