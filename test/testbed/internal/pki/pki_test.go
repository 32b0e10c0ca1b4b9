package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

func create(t *testing.T) *plan.Cluster {
	t.Helper()
	c := &plan.Cluster{Parameters: plan.Parameters{Nodes: 2}, StateDir: t.TempDir()}
	if err := Create(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func certificate(t *testing.T, c *plan.Cluster, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.PKI(name+".crt"), c.PKI(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func authority(t *testing.T, c *plan.Cluster, name string) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(c.PKI(name + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("%s.crt holds no certificate", name)
	}
	return pool
}

func TestServersAreTrustedUnderTheirAddresses(t *testing.T) {
	c := create(t)
	ca := authority(t, c, CA)
	for name, addresses := range map[string][]string{
		APIServer:        {c.HubAddress(), c.KubernetesService(), "127.0.0.1", "kubernetes.default.svc"},
		Kubelet("node1"): {c.Address(1), "node1"},
		Kubelet("node2"): {c.Address(2), "node2"},
	} {
		for _, address := range addresses {
			options := x509.VerifyOptions{DNSName: address, Roots: ca}
			if _, err := certificate(t, c, name).Verify(options); err != nil {
				t.Errorf("%s under %s: %v", name, address, err)
			}
		}
	}
	options := x509.VerifyOptions{DNSName: c.Address(2), Roots: ca}
	if _, err := certificate(t, c, Kubelet("node1")).Verify(options); err == nil {
		t.Error("node1's kubelet is trusted under node2's address")
	}
}

func TestUsersAreWhoKubernetesTakesThemFor(t *testing.T) {
	c := create(t)
	ca := authority(t, c, CA)
	for name, want := range map[string]struct{ user, group string }{
		Admin:             {"kubernetes-admin", "system:masters"},
		Kubelet("node2"):  {"system:node:node2", "system:nodes"},
		Scheduler:         {"system:kube-scheduler", ""},
		ControllerManager: {"system:kube-controller-manager", ""},
		KubeProxy:         {"system:kube-proxy", ""},
	} {
		leaf := certificate(t, c, name)
		options := x509.VerifyOptions{Roots: ca, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := leaf.Verify(options); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if leaf.Subject.CommonName != want.user {
			t.Errorf("%s is the user %q, want %q", name, leaf.Subject.CommonName, want.user)
		}
		if want.group != "" && (len(leaf.Subject.Organization) != 1 || leaf.Subject.Organization[0] != want.group) {
			t.Errorf("%s is in the groups %v, want %s", name, leaf.Subject.Organization, want.group)
		}
	}
}

func TestFrontProxyHasItsOwnAuthority(t *testing.T) {
	c := create(t)
	leaf := certificate(t, c, FrontProxy)
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: authority(t, c, FrontProxyCA), KeyUsages: usages}); err != nil {
		t.Error(err)
	}
	// Otherwise any user could pass for the proxy, which may speak for everybody.
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: authority(t, c, CA), KeyUsages: usages}); err == nil {
		t.Error("the cluster's own authority vouches for the front proxy")
	}
}

func TestServiceAccountKey(t *testing.T) {
	c := create(t)
	data, err := os.ReadFile(c.PKI(ServiceAccount + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		t.Fatalf("no public key: %s", data)
	}
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		t.Error(err)
	}
}

func TestKubeconfigsAndKeysAreForTheirOwnersOnly(t *testing.T) {
	c := create(t)
	for _, path := range []string{c.Kubeconfig(), c.PKI(Scheduler + ".conf"), c.PKI(Kubelet("node1") + ".conf")} {
		config, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if config.Host != c.Server() {
			t.Errorf("%s leads to %s, want %s", path, config.Host, c.Server())
		}
	}
	keys, err := filepath.Glob(c.PKI("*.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(keys, c.Kubeconfig()) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s can be read by others: %s", path, info.Mode())
		}
	}
}

func TestIssueRefusesWhatIsNoAddress(t *testing.T) {
	ca, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = ca.Issue(Request{CommonName: "somebody", Addresses: []string{"198.18.0.300"}})
	if err == nil || err.Error() != `certificate for somebody: "198.18.0.300" is no address` {
		t.Errorf("got %v", err)
	}
}
