package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// Names of the files in the plan's pki directory, without .crt, .key and .conf.
const (
	CA                = "ca"
	FrontProxyCA      = "front-proxy-ca"
	FrontProxy        = "front-proxy"
	APIServer         = "apiserver"
	Admin             = "admin"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	KubeProxy         = "kube-proxy"
	ServiceAccount    = "service-account"
)

// Kubelet names the files of a node's kubelet.
func Kubelet(node string) string { return "kubelet-" + node }

// Create writes all certificates, keys and kubeconfigs of a cluster into its state directory.
func Create(c *plan.Cluster) error {
	dir := c.PKI("")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	ca, err := writeAuthority(dir, CA)
	if err != nil {
		return err
	}
	front, err := writeAuthority(dir, FrontProxyCA)
	if err != nil {
		return err
	}
	if _, err := issue(front, dir, FrontProxy, Request{CommonName: "front-proxy-client"}); err != nil {
		return err
	}
	if _, err := issue(ca, dir, APIServer, apiServerRequest(c)); err != nil {
		return err
	}
	private, public, err := SigningKey()
	if err != nil {
		return err
	}
	// The public half stands where a certificate would.
	if err := (Pair{Certificate: public, Key: private}).Write(dir, ServiceAccount); err != nil {
		return err
	}
	for name, request := range users(c) {
		pair, err := issue(ca, dir, name, request)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, name+".conf")
		if name == Admin {
			path = c.Kubeconfig()
		}
		authority, err := ca.Pair()
		if err != nil {
			return err
		}
		if err := WriteKubeconfig(path, c.Server(), authority, pair); err != nil {
			return err
		}
	}
	return nil
}

func apiServerRequest(c *plan.Cluster) Request {
	return Request{
		CommonName: "kube-apiserver",
		Names: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc." + plan.ClusterDomain, "localhost",
		},
		Addresses: []string{c.HubAddress(), c.HubUplink(), c.KubernetesService(), "127.0.0.1"},
	}
}

// users are those that have a kubeconfig, by file name.
func users(c *plan.Cluster) map[string]Request {
	users := map[string]Request{
		Admin:             {CommonName: "kubernetes-admin", Organization: []string{"system:masters"}},
		ControllerManager: {CommonName: "system:kube-controller-manager"},
		Scheduler:         {CommonName: "system:kube-scheduler"},
		KubeProxy:         {CommonName: "system:kube-proxy"},
	}
	for n := 1; n <= c.Nodes; n++ {
		name := plan.NodeName(n)
		users[Kubelet(name)] = Request{
			CommonName: "system:node:" + name, Organization: []string{"system:nodes"},
			Names: []string{name}, Addresses: []string{c.Address(n), "127.0.0.1"},
		}
	}
	return users
}

func writeAuthority(dir, name string) (*Authority, error) {
	authority, err := NewAuthority("neutree-testbed-" + name)
	if err != nil {
		return nil, err
	}
	pair, err := authority.Pair()
	if err != nil {
		return nil, err
	}
	return authority, pair.Write(dir, name)
}

func issue(authority *Authority, dir, name string, request Request) (Pair, error) {
	pair, err := authority.Issue(request)
	if err != nil {
		return Pair{}, err
	}
	return pair, pair.Write(dir, name)
}
