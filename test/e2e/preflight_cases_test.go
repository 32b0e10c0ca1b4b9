//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	probes "github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// keeper makes a class whose volumes can't be deleted: Kubernetes' own deleter of directories takes those below /tmp only.
func keeper(t *testing.T, s *preflight.Subject) {
	t.Helper()
	class(t, s, "keeper", "kubernetes.io/no-provisioner", false)
	volumes := s.Cluster.Typed.CoreV1().PersistentVolumes()
	for _, node := range nodeNames(t, s) {
		name := "keeper-" + node
		if _, err := volumes.Create(t.Context(), &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": "kubernetes.io/host-path"}},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: "keeper", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
				PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/tmp"}},
			},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = volumes.Delete(context.Background(), name, metav1.DeleteOptions{})
			// The deleter that failed keeps it.
			_, _ = volumes.Patch(context.Background(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		})
	}
}

// On a cluster where nothing is wrong every check passes, and leaves nothing.
func TestProbesOnGoodCluster(t *testing.T) {
	s := probeSubject(t, func(set *requirement.Set) {
		set.Claims[1].Class, set.Claims[1].Grows = "grows", true
	})
	class(t, s, "grows", "testbed.neutree.ai/shared", true)
	resizes(t, s, "grows")
	got := runProbes(t, t.Context(), s)
	// The testbed enforces policies unless it was brought up with --network-policies=false.
	if os.Getenv("NETWORK_POLICIES") == "false" {
		wantFound(t, got["network.policies"], "does not enforce NetworkPolicies", "every pod reaches the workspaces' port 3001")
		delete(got, "network.policies")
		wantFound(t, got["network.workspace-egress"], "a workspace would reach kubernetes.default.svc:443",
			"use a network plugin that enforces NetworkPolicies")
		delete(got, "network.workspace-egress")
	}
	// It does not apply: the database is the release's own.
	delete(got, "database.external")
	for id, result := range got {
		if result.Status != preflight.Passed {
			t.Errorf("%s: %s %s", id, result.Status, result.Reason)
		}
	}
	// The relay under an address where nobody answers.
	nobody := nowhere(t, s)
	s.Requirements.Relay.Host = nobody
	wantFound(t, runProbes(t, t.Context(), s, "turn.reach")["turn.reach"], "the relay's port is not reached from here", nobody+":3478/tcp", "browser.turn.host")
}

// nowhere is an address of the testbed that no node, pod or service has: of its networks the eighth is empty.
func nowhere(t *testing.T, s *preflight.Subject) string {
	t.Helper()
	node, err := netip.ParseAddr(nodeAddress(t, s.Cluster))
	if err != nil || !node.Is4() {
		t.Fatalf("the first node has the address %s: %v", node, err)
	}
	address := node.As4()
	address[2] += 8
	return netip.AddrFrom4(address).String()
}

// Each thing that is wrong is found, and told with where it is and what to do.
func TestProbesOnBrokenCluster(t *testing.T) {
	s := probeSubject(t, func(set *requirement.Set) {
		set.Claims[0].Class = "liar"
		set.Claims[1].Class, set.Claims[1].Grows = "never-grows", true
		set.Claims = append(set.Claims, requirement.Claim{
			Name: "files", Namespace: probeNamespace, Class: "local-path", AccessMode: corev1.ReadOnlyMany, Size: resource.MustParse("1Gi"),
			By: requirement.Runner, Why: "files that many read", Value: "extra",
		})
		set.Claims = append(set.Claims, requirement.Claim{
			Name: "kept", Namespace: probeNamespace, Class: "keeper", AccessMode: corev1.ReadWriteOnce, Size: resource.MustParse("1Gi"),
			By: requirement.Runner, Why: "files that stay", Value: "extra",
		})
		set.NodePorts = append(set.NodePorts, requirement.NodePort{Service: "nap-sandbox", Port: 20080, Value: "global.exposure.nodePorts.sandbox"})
		set.Images = append(set.Images, requirement.Image{Ref: "ghcr.io/neutree-ai/no-such-image:v1", Namespace: probeNamespace, Why: "nothing", Value: "extra.image"})
	})
	nobody := nowhere(t, s)
	s.Requirements.Exposure.Host = nobody
	s.Options.Models = []preflight.Model{
		{Agent: "codex", URL: "https://kubernetes.default.svc/v1"}, {Agent: "goose", URL: "http://" + nobody}, {Agent: "claude-code", URL: "https://no-such-host.invalid"},
	}
	class(t, s, "never-grows", "testbed.neutree.ai/shared", true)
	liar(t, s)
	keeper(t, s)
	nodes := nodeNames(t, s)
	taken(t, s, nodes[0])
	cutOff(t, s, nodes[1])
	full(t, s, nodes[2])
	got := runProbes(t, t.Context(), s)
	for id, words := range map[string][]string{
		"storage.rwx-locks":  {"is not seen on node", "StorageClass liar", "global.storage.shared.storageClass"},
		"storage.mount":      {"cannot serve ReadOnlyMany", "StorageClass local-path"},
		"storage.deletion":   {"host_path deleter only supports", "StorageClass keeper", "kubectl delete pv"},
		"storage.expansion":  {"the claim is still of 1Gi, not 2Gi", "StorageClass never-grows"},
		"images.pull":        {"ghcr.io/neutree-ai/no-such-image:v1 | " + nodes[0], nodes[1], "let the node reach the registry"},
		"network.egress":     {"certificate", "global.trustedCAs", nobody, "open the way in firewalls", "no-such-host.invalid", "make the cluster's DNS know the name"},
		"nodes.clock":        {"the node takes no probe pod", nodes[2], "Insufficient cpu"},
		"turn.ports":         {"port 3478/tcp is taken", nodes[0]},
		"turn.reach":         {"see turn.ports"},
		"exposure.node-port": {"node port 20080 for nap-sandbox is outside 30000-32767, which this cluster allows", nobody, "does not answer under the host that users are told", "nodes themselves answer", "global.host"},
	} {
		wantFound(t, got[id], words...)
	}
	// Where the full node has no room for the second pod, it says so.
	if status := got["network.policies"].Status; status != preflight.Passed && status != preflight.Warned {
		t.Errorf("network.policies: %s", status)
	}
}

// What keeps a probe itself from starting is no verdict on the cluster, and says what it is.
func TestProbesThatCannotStart(t *testing.T) {
	s := probeSubject(t, nil)
	namespace(t, s, probeNamespace, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	namespace(t, s, probeNamespace+"-workspaces", map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
	withoutNames(t, s)
	eventually(t, time.Minute, "the nodes send questions for names to nobody", func(ctx context.Context) (bool, string) {
		s.Cluster.Forget()
		dns := runProbes(t, ctx, s, "network.dns")["network.dns"]
		return dns.Status != preflight.Passed, "network.dns: " + string(dns.Status)
	})
	s.Cluster.Forget()
	got := runProbes(t, t.Context(), s, "turn.ports", "nodes.fuse", "network.dns", "network.api-server")
	for id, word := range map[string]string{"turn.ports": `violates PodSecurity "restricted:`, "nodes.fuse": `violates PodSecurity "baseline:`} {
		if got[id].Status != preflight.Unproved || !strings.Contains(got[id].Reason, word) {
			t.Errorf("%s: %s %s", id, got[id].Status, got[id].Reason)
		}
	}
	wantFound(t, got["network.dns"], "can't look up kubernetes.default.svc")
	wantFound(t, got["network.api-server"], "does not reach the API server")

	missing := probes.New(probes.Config{Client: s.Probes.Client(), Image: "ghcr.io/neutree-ai/no-such-hooks:v1", Namespace: probeNamespace})
	defer func() {
		if err := missing.Close(time.Minute); err != nil {
			t.Error(err)
		}
	}()
	s.Probes = missing
	s.Cluster.Forget()
	got = runProbes(t, t.Context(), s, "nodes.clock")
	if clock := got["nodes.clock"]; clock.Status != preflight.Unproved ||
		!strings.Contains(clock.Reason, "the image ghcr.io/neutree-ai/no-such-hooks:v1 can't be pulled on node") {
		t.Errorf("nodes.clock: %s %s", clock.Status, clock.Reason)
	}
}

// Interrupted in the midst, a run leaves nothing; and what a run that was killed left goes by a cleanup.
func TestProbesInterrupted(t *testing.T) {
	s := probeSubject(t, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	started := make(chan error, 1)
	go func() {
		ours := metav1.ListOptions{LabelSelector: probes.RunLabel}
		there := func(ctx context.Context) (bool, error) {
			pods, err := s.Probes.Client().ListMetadata(ctx, kube.Pods, "", ours)
			return len(pods) > 0, err
		}
		started <- wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, there)
		interrupt()
	}()
	got := runProbes(t, ctx, s)
	if err := <-started; err != nil {
		t.Fatalf("no probe pod was started: %v", err)
	}
	interrupted := func(result preflight.Result) bool {
		return result.Status == preflight.Unproved && strings.Contains(result.Reason, "interrupted")
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(got)), interrupted) {
		t.Errorf("no check was interrupted: %+v", got)
	}
	if err := s.Probes.Close(time.Minute); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, s.Cluster)
	killed := probes.New(probes.Config{Client: s.Probes.Client(), Image: platform.HooksImage.Ref(), Namespace: probeNamespace})
	if _, err := killed.Namespace(t.Context(), probeNamespace, probes.Restricted); err != nil {
		t.Fatal(err)
	}
	if _, err := killed.Claim(t.Context(), "neutree-preflight-"+killed.ID()+"-restricted", "shared-immediate", corev1.ReadWriteMany, resource.MustParse("1Gi")); err != nil {
		t.Fatal(err)
	}
	removed, err := probes.Cleanup(t.Context(), s.Probes.Client())
	if err != nil || len(removed) == 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
}

func wantFound(t *testing.T, got preflight.Result, words ...string) {
	t.Helper()
	text := ""
	for _, f := range got.Findings {
		text += strings.Join([]string{f.Object, f.Node, f.Value, f.Found, f.Why, f.Fix}, " | ") + "\n"
	}
	if len(got.Findings) == 0 {
		t.Errorf("%s: %s, nothing was found %s", got.ID, got.Status, got.Reason)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not tell of %q:\n%s", got.ID, word, text)
		}
	}
}

func nodeNames(t *testing.T, s *preflight.Subject) []string {
	t.Helper()
	nodes, err := s.Cluster.Nodes(t.Context())
	if err != nil || len(nodes) < 3 {
		t.Fatalf("%d nodes, want 3: %v", len(nodes), err)
	}
	var names []string
	for _, node := range nodes {
		names = append(names, node.Name)
	}
	return names
}

func class(t *testing.T, s *preflight.Subject, name, provisioner string, grows bool) {
	t.Helper()
	classes := s.Cluster.Typed.StorageV1().StorageClasses()
	if _, err := classes.Create(t.Context(), &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, AllowVolumeExpansion: &grows,
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = classes.Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

// resizes does for a class what its provisioner's resizer does on a real cluster.
func resizes(t *testing.T, s *preflight.Subject, class string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { stop(); <-done })
	core := s.Cluster.Typed.CoreV1()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			time.Sleep(300 * time.Millisecond)
			claims, err := core.PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			for _, claim := range claims.Items {
				want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
				if ptr.Deref(claim.Spec.StorageClassName, "") != class || claim.Status.Phase != corev1.ClaimBound || want.Cmp(have) <= 0 {
					continue
				}
				patch, _ := json.Marshal(map[string]any{"status": map[string]any{"capacity": map[string]string{"storage": want.String()}}})
				_, _ = core.PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
			}
		}
	}()
}

// liar makes a class that hands out volumes for many nodes which are each node's own directory.
func liar(t *testing.T, s *preflight.Subject) {
	t.Helper()
	class(t, s, "liar", "kubernetes.io/no-provisioner", false)
	volumes := s.Cluster.Typed.CoreV1().PersistentVolumes()
	if _, err := volumes.Create(t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "liar"},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: "liar", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp"}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = volumes.Delete(context.Background(), "liar", metav1.DeleteOptions{}) })
}

func namespace(t *testing.T, s *preflight.Subject, name string, labels map[string]string) {
	t.Helper()
	namespaces := s.Cluster.Typed.CoreV1().Namespaces()
	if _, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = namespaces.Delete(context.Background(), name, metav1.DeleteOptions{})
		for range 300 {
			if _, err := namespaces.Get(context.Background(), name, metav1.GetOptions{}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("namespace %s does not go", name)
	})
}

// somebody runs a pod of somebody else's and waits until it runs.
func somebody(t *testing.T, s *preflight.Subject, name string, spec corev1.PodSpec) *corev1.Pod {
	t.Helper()
	spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
	pods := s.Cluster.Typed.CoreV1().Pods(metav1.NamespaceDefault)
	if _, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pods.Delete(context.Background(), name, metav1.DeleteOptions{}) })
	for range 300 {
		pod, err := pods.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodSucceeded {
			return pod
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("pod %s does not run", name)
	return nil
}

const busybox = "docker.io/library/busybox:1.35"

// taken lets somebody else have the relay's port on a node.
func taken(t *testing.T, s *preflight.Subject, node string) {
	t.Helper()
	somebody(t, s, "has-the-port", corev1.PodSpec{
		NodeName: node, HostNetwork: true,
		Containers: []corev1.Container{{Name: "serve", Image: platform.HooksImage.Ref(),
			Args: []string{"probe", "--timeout", "10m", "--tasks", fmt.Sprintf(`[{"id":"serve","serve":{"tcp":[%d],"greeting":"","seconds":600}}]`, platform.TurnPort)}}},
	})
}

// full fills a node to the brim.
func full(t *testing.T, s *preflight.Subject, name string) {
	t.Helper()
	node, err := s.Cluster.Typed.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := s.Cluster.Typed.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		t.Fatal(err)
	}
	free := node.Status.Allocatable.Cpu().MilliValue()
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			free -= container.Resources.Requests.Cpu().MilliValue()
		}
	}
	somebody(t, s, "fills-the-node", corev1.PodSpec{
		NodeName: name,
		Containers: []corev1.Container{{Name: "sleep", Image: busybox, Command: []string{"sleep", "600"}, Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(free, resource.DecimalSI)},
		}}},
	})
}

// cutOff takes from a node what leads it to the testbed's registry.
func cutOff(t *testing.T, s *preflight.Subject, node string) {
	t.Helper()
	run := func(name, script string) {
		somebody(t, s, name, corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyNever,
			Volumes:    []corev1.Volume{{Name: "containerd", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc/containerd/certs.d"}}}},
			Containers: []corev1.Container{{Name: "sh", Image: busybox, Command: []string{"sh", "-ec", script}, VolumeMounts: []corev1.VolumeMount{{Name: "containerd", MountPath: "/certs"}}}},
		})
	}
	// The probes' own image is on the node before no more can come.
	somebody(t, s, "pulls-the-hooks", corev1.PodSpec{
		NodeName: node, RestartPolicy: corev1.RestartPolicyNever,
		Containers: []corev1.Container{{Name: "version", Image: platform.HooksImage.Ref(), Args: []string{"--version"}}},
	})
	run("cuts-off", "mv /certs/ghcr.io/hosts.toml /certs/ghcr.io/away")
	t.Cleanup(func() {
		pods := s.Cluster.Typed.CoreV1().Pods(metav1.NamespaceDefault)
		_, err := pods.Create(context.Background(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "fixes"},
			Spec: corev1.PodSpec{
				NodeName: node, RestartPolicy: corev1.RestartPolicyNever,
				Volumes:    []corev1.Volume{{Name: "containerd", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc/containerd/certs.d"}}}},
				Containers: []corev1.Container{{Name: "sh", Image: busybox, Command: []string{"sh", "-ec", "mv /certs/ghcr.io/away /certs/ghcr.io/hosts.toml"}, VolumeMounts: []corev1.VolumeMount{{Name: "containerd", MountPath: "/certs"}}}},
			},
		}, metav1.CreateOptions{})
		for range 300 {
			pod, getErr := pods.Get(context.Background(), "fixes", metav1.GetOptions{})
			if getErr == nil && pod.Status.Phase == corev1.PodSucceeded {
				_ = pods.Delete(context.Background(), "fixes", metav1.DeleteOptions{})
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("node %s is still cut off from the registry: %v", node, err)
	})
}

// withoutNames leads the cluster's name service to where nobody answers.
func withoutNames(t *testing.T, s *preflight.Subject) {
	t.Helper()
	slices := s.Cluster.Typed.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem)
	list, err := slices.List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kube-dns"})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d EndpointSlices of the name service: %v", len(list.Items), err)
	}
	set := func(address string) error {
		patch := []byte(fmt.Sprintf(`[{"op":"replace","path":"/endpoints/0/addresses/0","value":%q}]`, address))
		_, err := slices.Patch(context.Background(), list.Items[0].Name, types.JSONPatchType, patch, metav1.PatchOptions{})
		return err
	}
	before := list.Items[0].Endpoints[0].Addresses[0]
	if err := set(nowhere(t, s)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set(before); err != nil {
			t.Errorf("fix the name service: %v", err)
		}
	})
}
