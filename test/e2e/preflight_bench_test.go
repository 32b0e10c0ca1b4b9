//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	hugeNodes   = 5000
	podsOnEach  = 10
	hugeLimit   = 5 * time.Second
	hugeMemory  = 300 << 20
	hugeNodeFmt = "huge-%d"
)

// BenchmarkPreflightHuge measures the checks that only read, by the plugin itself, on a cluster of half the size and of
// all of it. The nodes and pods are objects only: nothing runs on them.
func BenchmarkPreflightHuge(b *testing.B) {
	env := newEnvironment(b)
	plugin := os.Getenv("HELM_NEUTREE")
	if plugin == "" {
		b.Fatal("HELM_NEUTREE is not set: run this by `make bench`")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client := kubernetes.NewForConfigOrDie(config)
	b.Cleanup(func() { shrink(b, client) })
	for b.Loop() {
		grow(b, client, 0, hugeNodes/2)
		standAll(b, client, hugeNodes/2)
		half, _ := measure(b, env, plugin)
		grow(b, client, hugeNodes/2, hugeNodes)
		standAll(b, client, hugeNodes)
		full, memory := measure(b, env, plugin)
		b.ReportMetric(half.Seconds(), "s/half")
		b.ReportMetric(full.Seconds(), "s/full")
		b.ReportMetric(float64(memory>>20), "MiB")
		if full > hugeLimit || memory > hugeMemory {
			b.Errorf("it took %s and %d MiB, want at most %s and %d MiB", full, memory>>20, hugeLimit, hugeMemory>>20)
		}
		// A third more than twice is noise of a machine with two cores.
		if full > half*8/3 {
			b.Errorf("twice the cluster took %s, half of it %s", full, half)
		}
	}
}

// measure runs the plugin thrice and takes the quickest, and the most memory.
func measure(b *testing.B, env *environment, plugin string) (time.Duration, int64) {
	b.Helper()
	best, memory := time.Hour, int64(0)
	for range 3 {
		command := exec.CommandContext(b.Context(), plugin, "preflight", "neutree", env.chart, "--namespace", "nap", "--no-pods", "--output", "json")
		start := time.Now()
		output, err := command.Output()
		took := time.Since(start)
		if code := command.ProcessState.ExitCode(); code != 0 && code != 2 {
			b.Fatalf("%v\n%s", err, output)
		}
		best = min(best, took)
		memory = max(memory, command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
	}
	b.Logf("preflight: %s, %d MiB", best.Round(10*time.Millisecond), memory>>20)
	return best, memory
}

func grow(b *testing.B, client kubernetes.Interface, from, to int) {
	b.Helper()
	inParallel(b, from, to, func(ctx context.Context, i int) error {
		name := fmt.Sprintf(hugeNodeFmt, i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelArchStable: "amd64", "huge": "yes"}}}
		if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return err
		}
		for n := range podsOnEach {
			if _, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, hugePod(name, n), metav1.CreateOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

func hugePod(node string, n int) *corev1.Pod {
	no := false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: node + "-" + strconv.Itoa(n), Labels: map[string]string{"huge": "yes"}},
		Spec: corev1.PodSpec{
			NodeName: node, AutomountServiceAccountToken: &no, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "c", Image: "example.com/image:v1", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")}}}},
		},
	}
}

// standAll lets all nodes say that they are ready: the node controller doubts those that nothing speaks for.
func standAll(b *testing.B, client kubernetes.Interface, nodes int) {
	b.Helper()
	inParallel(b, 0, nodes, func(ctx context.Context, i int) error { return stand(ctx, client, i) })
}

// stand lets a node say that it is ready.
func stand(ctx context.Context, client kubernetes.Interface, i int) error {
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110")}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf(hugeNodeFmt, i)}}
	node.Status = corev1.NodeStatus{Capacity: amounts, Allocatable: amounts, Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}}
	_, err := client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

func shrink(b *testing.B, client kubernetes.Interface) {
	b.Helper()
	now := int64(0)
	options, all := metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: "huge=yes"}
	// The API server ends a request after a minute, in which it does not delete all of them.
	err := wait.PollUntilContextTimeout(context.Background(), time.Second, 10*time.Minute, true, func(ctx context.Context) (bool, error) {
		return client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, options, all) == nil, nil
	})
	if err != nil {
		b.Errorf("delete the pods: %v", err)
	}
	if err := client.CoreV1().Nodes().DeleteCollection(context.Background(), options, all); err != nil {
		b.Error(err)
	}
}

func inParallel(b *testing.B, from, to int, do func(ctx context.Context, i int) error) {
	b.Helper()
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(16)
	for i := from; i < to; i++ {
		group.Go(func() error { return do(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}
