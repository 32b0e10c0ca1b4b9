// Package node is a node of the cluster: the first process in its namespaces, which keeps containerd, kubelet,
// kube-proxy and the NetworkPolicy agent running.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/neutree-ai/packaging/test/testbed/internal/member"
	"github.com/neutree-ai/packaging/test/testbed/internal/netpolicy"
	"github.com/neutree-ai/packaging/test/testbed/internal/pki"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// Units are a node's programs.
const (
	Containerd    = "containerd"
	Kubelet       = "kubelet"
	KubeProxy     = "kube-proxy"
	NetworkPolicy = "network-policy"
)

// Run makes this process, the first in its namespaces, the node called name. It returns when ctx ends.
func Run(ctx context.Context, log *slog.Logger, c *plan.Cluster, name string) error {
	n, err := c.Number(name)
	if err != nil {
		return err
	}
	if err := member.AwaitGo(); err != nil {
		return err
	}
	if err := enterRoot(c, name); err != nil {
		return err
	}
	if err := member.SetHostname(name); err != nil {
		return err
	}
	if err := member.Sysctl(map[string]string{
		"net/ipv4/ip_forward":                "1",
		"net/bridge/bridge-nf-call-iptables": "1",
		member.OrphanRetries:                 "1",
	}); err != nil {
		return err
	}
	if err := writeFiles(c, n); err != nil {
		return err
	}
	if err := netpolicy.LinkPlugins(debianPlugins, c.Binaries["testbed"], cniPlugins); err != nil {
		return err
	}
	return supervise.Run(ctx, log, filepath.Dir(c.Log(name, Kubelet)), units(c, n)...)
}

func writeFiles(c *plan.Cluster, n int) error {
	all, err := files(c, n)
	if err != nil {
		return fmt.Errorf("configure %s: %w", plan.NodeName(n), err)
	}
	for path, content := range all {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("configure %s: %w", plan.NodeName(n), err)
		}
		// The host's may be a link that leads nowhere here.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("configure %s: %w", plan.NodeName(n), err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("configure %s: %w", plan.NodeName(n), err)
		}
	}
	return nil
}

func units(c *plan.Cluster, n int) []supervise.Unit {
	name := plan.NodeName(n)
	api := member.APIServerReady(c)
	all := []supervise.Unit{
		{Name: Containerd, Command: []string{cmp.Or(c.Binaries["containerd"], "/usr/bin/containerd"), "--config", containerdConfig}},
		{
			Name:  Kubelet,
			Ready: member.All(member.ListenerReady("unix", containerdSocket), api),
			Command: []string{
				c.Binaries["kubelet"], "--config=" + kubeletConfig,
				"--kubeconfig=" + c.PKI(pki.Kubelet(name)+".conf"),
				"--hostname-override=" + name, "--node-ip=" + c.Address(n),
			},
		},
		{
			Name: KubeProxy, Ready: api,
			Command: []string{
				c.Binaries["kube-proxy"], "--kubeconfig=" + c.PKI(pki.KubeProxy+".conf"),
				"--proxy-mode=iptables", "--cluster-cidr=" + c.PodNetwork(), "--hostname-override=" + name,
				"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
				"--oom-score-adj=0",
			},
		},
	}
	if c.NetworkPolicies {
		all = append(all, supervise.Unit{
			Name: NetworkPolicy, Ready: api,
			Command: []string{c.Binaries["testbed"], "network-policy", "--state", c.StateDir, name},
		})
	}
	return all
}
