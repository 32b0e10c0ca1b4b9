//go:build e2e

package e2e

import (
	"fmt"
	"hash/crc32"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// shop is a namespace with three servers, each on the first node and on the ports 8080 (called http) and 9090, and
// policies about two of them.
type shop struct {
	name string
	// other is a namespace that the policies trust, strange one that they do not.
	other, strange string
	// addresses are the servers' own, by name.
	addresses map[string]string
}

const policies = `
- metadata: {name: guarded}
  spec:
    podSelector: {matchLabels: {app: guarded}}
    ingress:
    - from:
      - podSelector: {matchLabels: {role: friend}}
      - namespaceSelector: {matchLabels: {testbed-trust: "yes"}}
        podSelector: {matchLabels: {role: friend}}
      ports: [{port: http}]
- metadata: {name: closed}
  spec:
    podSelector: {matchLabels: {app: closed}}
    policyTypes: [Ingress]
- metadata: {name: by-address}
  spec:
    podSelector: {matchLabels: {app: by-address}}
    ingress:
    - from: [{ipBlock: {cidr: %s, except: [%s]}}]
      ports: [{port: 8000, endPort: 8100}]
- metadata: {name: hermit}
  spec:
    podSelector: {matchLabels: {role: hermit}}
    policyTypes: [Egress]
    egress:
    - to: [{podSelector: {matchLabels: {app: open}}}]
      ports: [{port: http}]
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
      ports: [{port: 53, protocol: UDP}, {port: 53}]
`

func newShop(t *testing.T, client kubernetes.Interface, all []string) *shop {
	t.Helper()
	s := &shop{
		name:      newNamespace(t, client, nil),
		other:     newNamespace(t, client, map[string]string{"testbed-trust": "yes"}),
		strange:   newNamespace(t, client, nil),
		addresses: map[string]string{},
	}
	servers := []string{"open", "guarded", "closed", "by-address"}
	for _, name := range servers {
		const script = "mkdir /tmp/w; echo hello > /tmp/w/index.html; httpd -p 9090 -h /tmp/w; httpd -f -p 8080 -h /tmp/w"
		pod := shellPod(name, all[0], script, map[string]string{"app": name})
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
		// Its own node reaches a pod whatever its policies say: the closed one becomes ready all the same.
		pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}},
			PeriodSeconds: 1,
		}
		createPod(t, client, s.name, pod)
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
		}}
		if _, err := client.CoreV1().Services(s.name).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Not one connection is made before the policies are there.
	c := layout(t)
	excepted := c.PodCIDR(min(len(all), 2))
	var list []networkingv1.NetworkPolicy
	if err := yaml.UnmarshalStrict(fmt.Appendf(nil, policies, c.PodNetwork(), excepted), &list); err != nil {
		t.Fatal(err)
	}
	for _, policy := range list {
		if _, err := client.NetworkingV1().NetworkPolicies(s.name).Create(t.Context(), &policy, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range servers {
		s.addresses[name] = awaitPod(t, client, s.name, name, ready).Status.PodIP
	}
	return s
}

func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	all := nodes(t, client)
	here, there := all[0], all[len(all)-1]
	apiServer := layout(t).KubernetesService()
	s := newShop(t, client, all)
	second := there
	if len(all) > 1 {
		second = all[1]
	}

	for name, test := range map[string]struct {
		namespace, node, role string
		host                  string
		port                  int
		allowed               bool
	}{
		"no policy, same node":                        {s.name, here, "stranger", s.addresses["open"], 8080, true},
		"no policy, another node":                     {s.strange, there, "stranger", s.addresses["open"], 9090, true},
		"friend, same node":                           {s.name, here, "friend", s.addresses["guarded"], 8080, true},
		"friend, another node":                        {s.name, there, "friend", s.addresses["guarded"], 8080, true},
		"friend, by the service's name":               {s.name, there, "friend", "guarded", 80, true},
		"friend, another port":                        {s.name, here, "friend", s.addresses["guarded"], 9090, false},
		"friend of a trusted namespace":               {s.other, there, "friend", s.addresses["guarded"], 8080, true},
		"friend of another namespace":                 {s.strange, there, "friend", s.addresses["guarded"], 8080, false},
		"stranger, same node":                         {s.name, here, "stranger", s.addresses["guarded"], 8080, false},
		"stranger, another node":                      {s.name, there, "stranger", s.addresses["guarded"], 8080, false},
		"stranger, by the service's name":             {s.name, there, "stranger", "guarded", 80, false},
		"stranger of a trusted namespace":             {s.other, here, "stranger", s.addresses["guarded"], 8080, false},
		"nobody is let in, same node":                 {s.name, here, "friend", s.addresses["closed"], 8080, false},
		"nobody is let in, another node":              {s.name, there, "friend", s.addresses["closed"], 8080, false},
		"address in the block":                        {s.name, there, "stranger", s.addresses["by-address"], 8080, len(all) > 2},
		"address in the block, port out of range":     {s.name, there, "stranger", s.addresses["by-address"], 9090, false},
		"address excepted from the block":             {s.name, second, "stranger", s.addresses["by-address"], 8080, false},
		"hermit to where it may":                      {s.name, there, "hermit", s.addresses["open"], 8080, true},
		"hermit by name, which needs the name server": {s.name, here, "hermit", "open", 80, true},
		"hermit to another port":                      {s.name, there, "hermit", s.addresses["open"], 9090, false},
		"hermit to another pod":                       {s.name, there, "hermit", s.addresses["by-address"], 8080, false},
		"hermit to the API server":                    {s.name, there, "hermit", apiServer, 443, false},
		"hermit to its own node":                      {s.name, there, "hermit", address(t, client, there), 10250, false},
		"stranger to its own node":                    {s.name, there, "stranger", address(t, client, there), 10250, true},
		"stranger to the API server":                  {s.name, there, "stranger", apiServer, 443, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Where it is allowed, a machine under load may be slow to answer; where not, no answer may ever come.
			script := fmt.Sprintf("for i in 1 2 3 4 5; do nc -w 5 %s %d < /dev/null && exit 0; done; exit 1", test.host, test.port)
			if !test.allowed {
				script = fmt.Sprintf("for i in 1 2 3; do nc -w 1 %s %d < /dev/null && exit 0; done; exit 1", test.host, test.port)
			}
			pod := shellPod(fmt.Sprintf("probe-%08x", crc32.ChecksumIEEE([]byte(name))), test.node, script, map[string]string{"role": test.role})
			connected, output := runPod(t, client, test.namespace, pod)
			if connected != test.allowed {
				t.Errorf("%s %s:%d: connected: %t, want %t\n%s", test.role, test.host, test.port, connected, test.allowed, output)
			}
		})
	}
}

// address is a node's.
func address(t *testing.T, client kubernetes.Interface, node string) string {
	t.Helper()
	got, err := client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Status.Addresses[0].Address
}

func TestPoliciesFollowChanges(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	all := nodes(t, client)
	s := newShop(t, client, all)
	try := func(name string) bool {
		script := fmt.Sprintf("nc -w 2 %s 8080 < /dev/null", s.addresses["closed"])
		connected, _ := runPod(t, client, s.name, shellPod(name, all[len(all)-1], script, nil))
		return connected
	}
	if try("before") {
		t.Error("the policy does not hold")
	}
	if err := client.NetworkingV1().NetworkPolicies(s.name).Delete(t.Context(), "closed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if !try("after") {
		t.Error("the policy still holds after it was deleted")
	}
}
