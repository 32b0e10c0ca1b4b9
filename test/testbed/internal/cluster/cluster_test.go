package cluster

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/neutree-ai/packaging/test/testbed/internal/hub"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/supervise"
)

func testbed(t *testing.T) *Testbed {
	t.Helper()
	base := t.TempDir()
	return &Testbed{
		Log: slog.New(slog.DiscardHandler), Name: "own", Base: base, StateDir: filepath.Join(base, "own"), CacheDir: t.TempDir(),
	}
}

// runningTestbed is one whose hub is this very process.
func runningTestbed(t *testing.T, parameters plan.Parameters) *Testbed {
	t.Helper()
	tb := testbed(t)
	c := &plan.Cluster{Parameters: parameters, Name: tb.Name, StateDir: tb.StateDir}
	if err := os.MkdirAll(c.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	self, err := supervise.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s := &state{Members: map[string]supervise.Identity{hub.Name: self}, Complete: true}
	if err := s.write(c.StateDir); err != nil {
		t.Fatal(err)
	}
	return tb
}

func TestRunningTestbedKeepsItsParameters(t *testing.T) {
	parameters := plan.Parameters{Nodes: 3, Kubernetes: "1.34", NetworkPolicies: true}
	tb := runningTestbed(t, parameters)
	if c, _, err := tb.running(parameters); err != nil || c == nil {
		t.Errorf("the same parameters: %v, %v", c, err)
	}
	_, _, err := tb.running(plan.Parameters{Nodes: 1, Kubernetes: "1.28"})
	const want = "a testbed with 3 node(s), Kubernetes 1.34, NetworkPolicies enforced runs already, which cannot become one with " +
		"1 node(s), Kubernetes 1.28, NetworkPolicies not enforced: run testbed --name own down first"
	if err == nil || err.Error() != want {
		t.Errorf("other parameters:\n got %v\nwant %s", err, want)
	}
}

func TestDeadOrUnfinishedTestbedDoesNotRun(t *testing.T) {
	parameters := plan.Parameters{Nodes: 1, Kubernetes: "1.34"}
	for name, change := range map[string]func(*state){
		"never finished": func(s *state) { s.Complete = false },
		"hub has died":   func(s *state) { s.Members[hub.Name] = supervise.Identity{PID: os.Getpid(), Start: 1} },
	} {
		t.Run(name, func(t *testing.T) {
			tb := runningTestbed(t, parameters)
			s, err := readState(tb.StateDir)
			if err != nil {
				t.Fatal(err)
			}
			change(s)
			if err := s.write(tb.StateDir); err != nil {
				t.Fatal(err)
			}
			if c, _, err := tb.running(parameters); c != nil || err != nil {
				t.Errorf("got %v, %v", c, err)
			}
		})
	}
}

func TestCommandsSayThatThereIsNoTestbed(t *testing.T) {
	tb := testbed(t)
	want := "no testbed in " + tb.StateDir + ": run testbed --name own up"
	_, statusErr := tb.Status(t.Context())
	_, kubeconfigErr := tb.Kubeconfig()
	for name, err := range map[string]error{
		"status": statusErr, "kubeconfig": kubeconfigErr, "logs": tb.Logs("node1", "kubelet", os.Stderr),
		"push": tb.PushArchive(t.Context(), "image.tar", "a:1"),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

func TestLogs(t *testing.T) {
	tb := runningTestbed(t, plan.Parameters{Nodes: 1, Kubernetes: "1.34"})
	dir := filepath.Join(tb.StateDir, "members/node1/log")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubelet.log"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := tb.Logs("node1", "kubelet", &out); err != nil || out.String() != "hello\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	for unit, want := range map[string]string{
		"nothing":         `node1 has no unit "nothing": it has kubelet`,
		"../log/../state": `node1 has no unit "../log/../state": it has kubelet`,
	} {
		if err := tb.Logs("node1", unit, &out); err == nil || err.Error() != want {
			t.Errorf("%s: got %v", unit, err)
		}
	}
	if err := tb.Logs("node9", "kubelet", &out); err == nil || err.Error() != `no node is called "node9": there are [node1]` {
		t.Errorf("got %v", err)
	}
}

func TestStateSaysWhatToDoWhenItIsBroken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(statePath(dir), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := readState(dir)
	if err == nil || !strings.HasSuffix(err.Error(), ": run testbed down") {
		t.Errorf("got %v", err)
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	release, err := lock(t.Context(), slog.New(slog.DiscardHandler), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, slog.New(slog.DiscardHandler), dir); err == nil || !strings.HasPrefix(err.Error(), "wait for another testbed command to finish: ") {
		t.Errorf("a second lock: %v", err)
	}
	// Whoever waits while the directory is removed gets the next directory of that name.
	got := make(chan func(), 1)
	go func() {
		if release, err := lock(t.Context(), slog.New(slog.DiscardHandler), dir); err == nil {
			got <- release
		} else {
			t.Error(err)
			close(got)
		}
	}()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	release()
	if release, ok := <-got; ok {
		defer release()
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the lock is on a directory that is gone: %v", err)
	}
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	tb := runningTestbed(t, plan.Parameters{Nodes: 1, Kubernetes: "1.34"})
	for _, name := range []string{"bin", "members", "probe-1234", "volumes"} {
		if err := os.Mkdir(filepath.Join(tb.StateDir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := refuseForeign(tb.StateDir); err != nil {
		t.Errorf("its own: %v", err)
	}
	thesis := filepath.Join(tb.StateDir, "thesis.tex")
	if err := os.WriteFile(thesis, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want := thesis + " is not the testbed's, which removes everything in its state directory: move it away, or name another directory in NEUTREE_TESTBED_STATE"
	if err := refuseForeign(tb.StateDir); err == nil || err.Error() != want {
		t.Errorf("somebody's: got %v, want %s", err, want)
	}
}

func TestMountsBelow(t *testing.T) {
	const mounts = `/dev/vda / ext4 rw 0 0
overlay /state/members/node1/root/mount/etc overlay rw 0 0
tmpfs /state-of-others tmpfs rw 0 0
tmpfs /state tmpfs rw 0 0
tmpfs /state/with\040blank tmpfs rw 0 0
`
	got, err := mountsBelow(strings.NewReader(mounts), "/state")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/state/members/node1/root/mount/etc", "/state/with blank"}, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func TestParsePSS(t *testing.T) {
	const rollup = "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:    2048 kB\nPss:    1024 kB\nPss_Dirty: 12 kB\n"
	if got := parsePSS(rollup); got != 1<<20 {
		t.Errorf("got %d", got)
	}
	if got := parsePSS(""); got != 0 {
		t.Errorf("of nothing: got %d", got)
	}
}

func TestUnready(t *testing.T) {
	start := time.Now()
	node := func(name string, ready corev1.ConditionStatus, said time.Time, taints ...corev1.Taint) corev1.Node {
		return corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.NodeSpec{Taints: taints},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.NewTime(said.Truncate(time.Second))},
			}},
		}
	}
	got := unready([]string{"old", "good", "not", "tainted", "stale", "absent"}, []corev1.Node{
		node("old", corev1.ConditionTrue, start.Add(-time.Hour)), node("good", corev1.ConditionTrue, start),
		node("not", corev1.ConditionFalse, start),
		node("tainted", corev1.ConditionTrue, start, corev1.Taint{Key: corev1.TaintNodeNotReady}),
		node("stale", corev1.ConditionTrue, start.Add(-5*time.Second)),
	}, map[string]time.Time{"good": start, "stale": start})
	if diff := cmp.Diff([]string{"not", "tainted", "stale", "absent"}, got); diff != "" {
		t.Errorf("not ready (-want +got):\n%s", diff)
	}
}

func TestObjectsAreAppliedTwice(t *testing.T) {
	client := fake.NewClientset()
	c := &plan.Cluster{Range: 2}
	for range 2 {
		if err := applyObjects(t.Context(), client, c); err != nil {
			t.Fatal(err)
		}
	}
	classes, err := client.StorageV1().StorageClasses().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, class := range classes.Items {
		got[class.Name] = class.Provisioner + " " + string(*class.VolumeBindingMode)
	}
	want := map[string]string{
		"local-path":       "testbed.neutree.ai/local-path WaitForFirstConsumer",
		"shared":           "testbed.neutree.ai/shared WaitForFirstConsumer",
		"shared-immediate": "testbed.neutree.ai/shared Immediate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("storage classes (-want +got):\n%s", diff)
	}
	service, err := client.CoreV1().Services("kube-system").Get(t.Context(), "kube-dns", metav1.GetOptions{})
	if err != nil || service.Spec.ClusterIP != c.DNSService() || len(service.Spec.Ports) != 2 {
		t.Errorf("name service: %v, %v", service.Spec, err)
	}
}

func TestStatusFormats(t *testing.T) {
	status := &Status{
		Parameters: plan.Parameters{Nodes: 1, Kubernetes: "1.34", NetworkPolicies: true},
		Server:     "https://198.18.0.1:6443", Kubeconfig: "/state/kubeconfig",
		Members:       []MemberStatus{{Name: "hub", Address: "198.18.0.1", State: "running", PID: 7, ResidentBytes: 3 << 20}},
		ResidentBytes: 3 << 20,
	}
	var text strings.Builder
	if err := status.Write(&text, "text"); err != nil {
		t.Fatal(err)
	}
	const want = `MEMBER  ADDRESS     STATE    PID  MEMORY
hub     198.18.0.1  running  7    3 MiB
                                  3 MiB

1 node(s), Kubernetes 1.34, NetworkPolicies enforced
API server https://198.18.0.1:6443
export KUBECONFIG=/state/kubeconfig
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if err := status.Write(&text, "xml"); err == nil || err.Error() != `no output format "xml": give text or json` {
		t.Errorf("got %v", err)
	}
}

func TestToolsForTestsAreOfNoKubernetesVersion(t *testing.T) {
	want := []string{"cnpg-manager", "coredns", "etcd", "helm-3", "helm-3.18", "helm-4", "kubectl", "traefik", "versitygw"}
	if diff := cmp.Diff(want, testTools()); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
}

func TestNewKubernetesRunsOnContainerd2(t *testing.T) {
	for version, want := range map[string]bool{"1.28": false, "1.34": false, "1.35": false, "1.36": true, "1.37": true} {
		for _, program := range []string{"containerd-2/containerd", "containerd-2/containerd-shim-runc-v2"} {
			if got := slices.Contains(programs(version), program); got != want {
				t.Errorf("Kubernetes %s runs %s: %t, want %t", version, program, got, want)
			}
		}
	}
}

func TestAClusterRunsItsOwnKubernetes(t *testing.T) {
	names := programs("1.28")
	for name, want := range map[string]bool{
		"kubernetes-1.28/kubelet": true, "kubernetes-1.34/kubelet": false, "etcd": true, "kubectl": false,
	} {
		if got := slices.Contains(names, name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}

func TestStateOf(t *testing.T) {
	for command, want := range map[string]string{
		"/x/testbed hub --state /a":            "/a",
		"/x/testbed node run --state /b node1": "/b",
		"/usr/bin/etcd --data-dir=/a":          "",
		"/x/testbed hub --state":               "",
	} {
		if got := stateOf(strings.Fields(command)); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
}
