// Package hub is the control plane: the first process in namespaces that hold etcd, the Kubernetes control plane,
// CoreDNS, and the testbed's own services (registry and volumes).
package hub

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/neutree-ai/packaging/test/testbed/internal/member"
	"github.com/neutree-ai/packaging/test/testbed/internal/pki"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

// Name is the hub's as a member of the testbed.
const Name = "hub"

// Units are the hub's programs.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	CoreDNS           = "coredns"
	Services          = "services"
)

// Audit is the name of the log of who asked the API server for what, if one is kept.
const Audit = "audit"

const etcdAddress = "127.0.0.1:2379"

// Controllers and scheduler may send as many requests as large clusters allow them: with the 20 a second that the
// controllers have by default, 10,000 workspaces take half an hour to start.
const (
	requestsPerSecond = "--kube-api-qps=500"
	requestsAtOnce    = "--kube-api-burst=1000"
)

// Run makes this process, the first in its namespaces, the hub. It returns when ctx ends.
func Run(ctx context.Context, log *slog.Logger, c *plan.Cluster) error {
	if err := member.AwaitGo(); err != nil {
		return err
	}
	if err := member.MakePrivate(); err != nil {
		return err
	}
	if err := member.MountProc("/proc"); err != nil {
		return err
	}
	if err := member.MountTmpfs("/run", "mode=755"); err != nil {
		return err
	}
	if err := member.SetHostname(Name); err != nil {
		return err
	}
	if err := member.Sysctl(map[string]string{"net/ipv4/ip_forward": "1", member.OrphanRetries: "1"}); err != nil {
		return err
	}
	if err := os.WriteFile(corefilePath(c), []byte(corefile(c)), 0o644); err != nil {
		return fmt.Errorf("configure CoreDNS: %w", err)
	}
	if err := os.WriteFile(auditPolicyPath(c), []byte(auditPolicy), 0o644); err != nil {
		return fmt.Errorf("configure the audit log: %w", err)
	}
	return supervise.Run(ctx, log, filepath.Dir(c.Log(Name, Etcd)), units(c)...)
}

func corefilePath(c *plan.Cluster) string { return filepath.Join(c.Member(Name), "Corefile") }

// corefile answers for the cluster's names only: there is nobody to ask for others.
func corefile(c *plan.Cluster) string {
	return fmt.Sprintf(`.:53 {
    bind %s
    errors
    ready
    kubernetes %s in-addr.arpa . {
        kubeconfig %s
        ttl 5
    }
    loadbalance
}
`, c.DNSAddress(), plan.ClusterDomain, c.Kubeconfig())
}

func auditPolicyPath(c *plan.Cluster) string {
	return filepath.Join(c.Member(Name), "audit-policy.yaml")
}

// auditPolicy keeps one line a request, without bodies, and none of the components' own: they ask without end.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
- level: None
  users: ["system:kube-scheduler", "system:kube-controller-manager", "system:apiserver"]
- level: Metadata
`

func units(c *plan.Cluster) []supervise.Unit {
	api := member.APIServerReady(c)
	return []supervise.Unit{
		{Name: Etcd, Command: append([]string{c.Binaries["etcd"]}, etcdFlags(c)...)},
		{
			Name:    APIServer,
			Ready:   member.ListenerReady("tcp", etcdAddress),
			Command: append([]string{c.Binaries["kube-apiserver"]}, apiServerFlags(c)...),
		},
		{
			Name: ControllerManager, Ready: api,
			Command: append([]string{c.Binaries["kube-controller-manager"]}, controllerManagerFlags(c)...),
		},
		{
			Name: Scheduler, Ready: api,
			Command: []string{
				c.Binaries["kube-scheduler"], "--kubeconfig=" + c.PKI(pki.Scheduler+".conf"),
				"--leader-elect=false", "--bind-address=127.0.0.1", requestsPerSecond, requestsAtOnce,
			},
		},
		{Name: CoreDNS, Ready: api, Command: []string{c.Binaries["coredns"], "-conf", corefilePath(c)}},
		{Name: Services, Command: []string{c.Binaries["testbed"], "services", "--state", c.StateDir}},
	}
}

func etcdFlags(c *plan.Cluster) []string {
	return []string{
		"--data-dir=" + filepath.Join(c.Member(Name), "etcd"),
		"--listen-client-urls=http://" + etcdAddress, "--advertise-client-urls=http://" + etcdAddress,
		"--listen-peer-urls=http://127.0.0.1:2380",
		// What a power cut could lose here is not worth the disk's time.
		"--unsafe-no-fsync",
		// A crowd of 10,000 workspaces writes more between two compactions than the default of 2 GiB holds.
		fmt.Sprintf("--quota-backend-bytes=%d", 8<<30),
		// It has nobody to hold an election with.
		"--heartbeat-interval=50", "--election-timeout=250",
	}
}

func apiServerFlags(c *plan.Cluster) []string {
	flags := []string{
		"--etcd-servers=http://" + etcdAddress,
		"--bind-address=0.0.0.0", "--advertise-address=" + c.HubAddress(),
		fmt.Sprintf("--secure-port=%d", plan.APIPort),
		"--service-cluster-ip-range=" + c.ServiceNetwork(),
		"--allow-privileged",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + c.PKI(pki.CA+".crt"),
		"--tls-cert-file=" + c.PKI(pki.APIServer+".crt"), "--tls-private-key-file=" + c.PKI(pki.APIServer+".key"),
		"--service-account-key-file=" + c.PKI(pki.ServiceAccount+".crt"),
		"--service-account-signing-key-file=" + c.PKI(pki.ServiceAccount+".key"),
		"--service-account-issuer=https://kubernetes.default.svc." + plan.ClusterDomain,
		"--kubelet-client-certificate=" + c.PKI(pki.Admin+".crt"), "--kubelet-client-key=" + c.PKI(pki.Admin+".key"),
		// DNS does not know the nodes' names.
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + c.PKI(pki.FrontProxyCA+".crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.PKI(pki.FrontProxy+".crt"), "--proxy-client-key-file=" + c.PKI(pki.FrontProxy+".key"),
		// The hub has no kube-proxy: webhooks and aggregated APIs are reached at their pods' addresses.
		"--enable-aggregator-routing",
		"--profiling=false",
	}
	if c.Audit {
		flags = append(flags, "--audit-policy-file="+auditPolicyPath(c), "--audit-log-path="+c.Log(Name, Audit))
	}
	return flags
}

func controllerManagerFlags(c *plan.Cluster) []string {
	return []string{
		"--kubeconfig=" + c.PKI(pki.ControllerManager+".conf"),
		"--root-ca-file=" + c.PKI(pki.CA+".crt"),
		"--service-account-private-key-file=" + c.PKI(pki.ServiceAccount+".key"),
		"--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1",
		// The nodes have their certificates. This one would watch eight files by four instances of inotify, which are few.
		"--controllers=*,-certificatesigningrequest-signing-controller",
		// The nodes' ranges are in the plan.
		"--allocate-node-cidrs=false",
		"--profiling=false",
		requestsPerSecond, requestsAtOnce,
	}
}
