package node

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// second is the testbed of these tests: not the first of its machine.
func second(parameters plan.Parameters) *plan.Cluster {
	return &plan.Cluster{Parameters: parameters, Name: "second", Range: 1, StateDir: "/state"}
}

func rendered(t *testing.T, parameters plan.Parameters, n int) map[string]string {
	t.Helper()
	all, err := files(second(parameters), n)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestKubeletIsToldAboutCgroupV1WhereItKnows(t *testing.T) {
	for version, want := range map[string]bool{"1.28": false, "1.30": false, "1.31": true, "1.34": true} {
		all := rendered(t, plan.Parameters{Nodes: 1, Kubernetes: version}, 1)
		var config map[string]any
		if err := yaml.Unmarshal([]byte(all[kubeletConfig]), &config); err != nil {
			t.Fatal(err)
		}
		if _, got := config["failCgroupV1"]; got != want {
			t.Errorf("Kubernetes %s: failCgroupV1 is set: %t, want %t", version, got, want)
		}
	}
}

func TestKubeletIsTheNodes(t *testing.T) {
	all := rendered(t, plan.Parameters{Nodes: 2, Kubernetes: "1.34"}, 2)
	var config struct {
		CgroupRoot  string   `json:"cgroupRoot"`
		TLSCertFile string   `json:"tlsCertFile"`
		ClusterDNS  []string `json:"clusterDNS"`
	}
	if err := yaml.Unmarshal([]byte(all[kubeletConfig]), &config); err != nil {
		t.Fatal(err)
	}
	if config.CgroupRoot != "/neutree-testbed/second/node2" || config.TLSCertFile != "/state/pki/kubelet-node2.crt" {
		t.Errorf("got %+v", config)
	}
	if len(config.ClusterDNS) != 1 || config.ClusterDNS[0] != "198.18.96.10" {
		t.Errorf("pods ask %v for names", config.ClusterDNS)
	}
}

type conflist struct {
	Plugins []struct {
		Type   string `json:"type"`
		IPMasq *bool  `json:"ipMasq"`
		IPAM   struct {
			Ranges [][]struct {
				Subnet string `json:"subnet"`
			} `json:"ranges"`
		} `json:"ipam"`
	} `json:"plugins"`
}

func plugins(t *testing.T, parameters plan.Parameters, n int) conflist {
	t.Helper()
	var parsed conflist
	if err := json.Unmarshal([]byte(rendered(t, parameters, n)[cniConfig]), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestPodsKeepTheirAddresses(t *testing.T) {
	bridge := plugins(t, plan.Parameters{Nodes: 3, Kubernetes: "1.34"}, 3).Plugins[0]
	if bridge.Type != "bridge" || bridge.IPMasq == nil || *bridge.IPMasq {
		t.Errorf("the first plugin is %+v: policies need the pods' own addresses", bridge)
	}
	if bridge.IPAM.Ranges[0][0].Subnet != "198.18.83.0/24" {
		t.Errorf("node3's pods are in %v", bridge.IPAM.Ranges)
	}
}

func TestPolicyPluginComesLastWherePoliciesAreEnforced(t *testing.T) {
	for enforced, want := range map[bool]string{true: "bridge portmap neutree-network-policy", false: "bridge portmap"} {
		var types []string
		for _, plugin := range plugins(t, plan.Parameters{Nodes: 1, Kubernetes: "1.34", NetworkPolicies: enforced}, 1).Plugins {
			types = append(types, plugin.Type)
		}
		if got := strings.Join(types, " "); got != want {
			t.Errorf("enforced=%t: got %q, want %q", enforced, got, want)
		}
	}
}

func TestRegistriesAreMirrored(t *testing.T) {
	all := rendered(t, plan.Parameters{Nodes: 1, Kubernetes: "1.34"}, 1)
	for _, registry := range []string{"docker.io", "ghcr.io", "registry.k8s.io"} {
		content := all["/etc/containerd/certs.d/"+registry+"/hosts.toml"]
		if !strings.Contains(content, `[host."http://198.18.64.1:5000"]`) {
			t.Errorf("%s: %q", registry, content)
		}
	}
}

func TestUnitsFollowTheParameters(t *testing.T) {
	for enforced, want := range map[bool]string{
		true:  "containerd kubelet kube-proxy network-policy",
		false: "containerd kubelet kube-proxy",
	} {
		c := &plan.Cluster{Parameters: plan.Parameters{Nodes: 1, Kubernetes: "1.34", NetworkPolicies: enforced}}
		var names []string
		for _, unit := range units(c, 1) {
			names = append(names, unit.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("enforced=%t: got %q, want %q", enforced, got, want)
		}
	}
}

func TestContainerdIsDebiansUnlessAnotherWasBuilt(t *testing.T) {
	c := second(plan.Parameters{Nodes: 1, Kubernetes: "1.34"})
	if got := units(c, 1)[0].Command[0]; got != "/usr/bin/containerd" {
		t.Errorf("containerd is %s", got)
	}
	if got := containerdFile(c); strings.Contains(got, "runtime_path") {
		t.Errorf("Debian's containerd finds its own shim, but is told:\n%s", got)
	}
	c.Binaries = map[string]string{"containerd": "/cache/containerd", "containerd-shim-runc-v2": "/cache/containerd-shim-runc-v2"}
	if got := units(c, 1)[0].Command[0]; got != "/cache/containerd" {
		t.Errorf("containerd is %s", got)
	}
	if got := containerdFile(c); !strings.Contains(got, "\n    runtime_path = \"/cache/containerd-shim-runc-v2\"\n") {
		t.Errorf("containerd is not told of its shim:\n%s", got)
	}
}

func TestOutsideNamesEachDirectoryOnce(t *testing.T) {
	c := &plan.Cluster{StateDir: "/state", Binaries: map[string]string{
		"kubelet": "/cache/kubernetes/kubelet", "kube-proxy": "/cache/kubernetes/kube-proxy", "etcd": "/cache/etcd/etcd",
	}}
	if got := strings.Join(outside(c), " "); got != "/cache/etcd /cache/kubernetes /state" {
		t.Errorf("got %q", got)
	}
}
