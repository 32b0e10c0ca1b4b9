package node

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/test/testbed/internal/cgroup"
	"github.com/neutree-ai/packaging/test/testbed/internal/images"
	"github.com/neutree-ai/packaging/test/testbed/internal/netpolicy"
	"github.com/neutree-ai/packaging/test/testbed/internal/pki"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// Paths in the node's own root directory.
const (
	containerdSocket = "/run/containerd/containerd.sock"
	containerdConfig = "/etc/containerd/config.toml"
	certsDir         = "/etc/containerd/certs.d"
	kubeletConfig    = "/etc/kubernetes/kubelet.yaml"
	cniConfig        = "/etc/cni/net.d/10-testbed.conflist"
	debianPlugins    = "/usr/lib/cni"
	cniPlugins       = "/opt/cni/bin"
)

// mirrored are the registries that the testbed's own answers for, with the address each really has.
func mirrored() map[string]string {
	return map[string]string{
		"docker.io":       "https://registry-1.docker.io",
		"ghcr.io":         "https://ghcr.io",
		"registry.k8s.io": "https://registry.k8s.io",
	}
}

// files are the configuration files of a node, by path.
func files(c *plan.Cluster, n int) (map[string]string, error) {
	kubelet, err := kubeletFile(c, n)
	if err != nil {
		return nil, err
	}
	cni, err := cniFile(c, n)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		kubeletConfig:      kubelet,
		cniConfig:          cni,
		containerdConfig:   containerdFile(c),
		"/etc/hostname":    plan.NodeName(n) + "\n",
		"/etc/hosts":       hostsFile(c),
		"/etc/resolv.conf": "nameserver " + c.DNSAddress() + "\n",
		"/etc/crictl.yaml": "runtime-endpoint: unix://" + containerdSocket + "\n",
	}
	for name, origin := range mirrored() {
		all[certsDir+"/"+name+"/hosts.toml"] = hostsTOML(c, origin)
	}
	return all, nil
}

func hostsFile(c *plan.Cluster) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for n := 1; n <= c.Nodes; n++ {
		fmt.Fprintf(&b, "%s %s\n", c.Address(n), plan.NodeName(n))
	}
	return b.String()
}

func hostsTOML(c *plan.Cluster, origin string) string {
	return fmt.Sprintf("server = %q\n\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", origin, c.Registry())
}

// containerdFile turns the OOM score off where the machine does not let it be lowered: a sandbox could not start.
// Containerd 2 reads it as well: it converts version 2 of the configuration.
func containerdFile(c *plan.Cluster) string {
	shim := ""
	if path := c.Binaries["containerd-shim-runc-v2"]; path != "" {
		// Left to itself, containerd takes Debian's, which is on PATH.
		shim = "\n    runtime_path = \"" + path + "\""
	}
	return `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + images.PauseRef + `"
  restrict_oom_score_adj = true
  disable_apparmor = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"` + shim + `

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "` + cniPlugins + `"
    conf_dir = "/etc/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "` + certsDir + `"
`
}

// cniFile leaves the pods' addresses as they are: behind the node's, no NetworkPolicy could tell one from another.
func cniFile(c *plan.Cluster, n int) (string, error) {
	type object = map[string]any
	plugins := []object{
		{
			"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
			"ipam": object{
				"type":   "host-local",
				"ranges": [][]object{{{"subnet": c.PodCIDR(n)}}},
				"routes": []object{{"dst": "0.0.0.0/0"}},
			},
		},
		{"type": "portmap", "capabilities": object{"portMappings": true}, "snat": true},
	}
	if c.NetworkPolicies {
		plugins = append(plugins, object{"type": netpolicy.PluginName})
	}
	data, err := json.MarshalIndent(object{"cniVersion": "0.4.0", "name": "testbed", "plugins": plugins}, "", "  ")
	return string(data), err
}

func kubeletFile(c *plan.Cluster, n int) (string, error) {
	type object = map[string]any
	name := plan.NodeName(n)
	config := object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": c.PKI(pki.CA + ".crt")},
		},
		"authorization":            object{"mode": "Webhook"},
		"tlsCertFile":              c.PKI(pki.Kubelet(name) + ".crt"),
		"tlsPrivateKeyFile":        c.PKI(pki.Kubelet(name) + ".key"),
		"clusterDNS":               []string{c.DNSService()},
		"clusterDomain":            plan.ClusterDomain,
		"resolvConf":               "/etc/resolv.conf",
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               cgroup.Path(c.Name, name),
		"enforceNodeAllocatable":   []string{},
		"failSwapOn":               false,
		"oomScoreAdj":              0,
		"maxPods":                  200,
		"serializeImagePulls":      false,
		"registryPullQPS":          0,
		// The disk is the host's: how full it is says nothing about the testbed.
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
		},
	}
	if knowsFailCgroupV1(c.Kubernetes) {
		config["failCgroupV1"] = false
	}
	data, err := yaml.Marshal(config)
	return string(data), err
}

// knowsFailCgroupV1 reports whether a Kubernetes minor version has the kubelet setting of that name: 1.31 and later.
func knowsFailCgroupV1(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && (major > 1 || minor >= 31)
}
