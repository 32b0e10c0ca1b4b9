//go:build e2e

package lifetime

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// neighbour is a testbed that works while another one beside it is disturbed.
const neighbour = "neighbour"

// What happens to one testbed, kills included, is not noticed in another that is under load.
func TestTwoSideBySide(t *testing.T) {
	free(t, neighbour)
	before := look(t)
	bringUpBoth(t)
	if list := must(t, "list"); !strings.Contains(list, neighbour+"\n") || !strings.Contains(list, own+"\n") {
		t.Errorf("testbed list:\n%s", list)
	}
	client := clientOf(t, neighbour)
	startPod(t, client)
	members := readStatus(t, "--name", neighbour).Members
	load := startLoad(t, client)

	must(t, "node", "stop", "node1")
	must(t, "node", "start", "node1")
	must(t, "restart", "kube-apiserver")
	if err := syscall.Kill(readStatus(t).Members[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	must(t, "down")
	killUp(t, "waiting for the nodes")
	must(t, "down")
	same(t, before)
	load.stop(t)

	for i, m := range readStatus(t, "--name", neighbour).Members {
		if m.State != "running" || m.PID != members[i].PID {
			t.Errorf("%s was %+v and is %+v", m.Name, members[i], m)
		}
	}
	pod, err := client.CoreV1().Pods(metav1.NamespaceDefault).Get(t.Context(), podName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if status := pod.Status.ContainerStatuses[0]; status.RestartCount != 0 || !status.Ready {
		t.Errorf("the pod is %+v", status)
	}
	must(t, "--name", neighbour, "down")
	same(t, before)
}

// bringUpBoth brings two testbeds up at the same time, and one of them twice at the same time.
func bringUpBoth(t *testing.T) {
	t.Helper()
	var group sync.WaitGroup
	for _, name := range []string{own, own, neighbour} {
		group.Go(func() {
			output, err := exec.Command(program, "--name", name, "up", "--nodes", "1").CombinedOutput()
			if err != nil {
				t.Errorf("testbed --name %s up: %v\n%s", name, err, output)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	running(t, 1)
}

func clientOf(t *testing.T, name string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", strings.TrimSpace(must(t, "--name", name, "kubeconfig")))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Timeout = -1, 10*time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

const podName = "worker"

// startPod starts a pod that writes to its log without end and waits until it runs.
func startPod(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: podName},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: podName, Image: "busybox:1.35",
			Command: []string{"sh", "-c", "while sleep 1; do date; done"},
		}}},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// The namespace's account comes some time after the namespace.
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		got, err := client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, podName, metav1.GetOptions{})
		return err == nil && got.Status.Phase == corev1.PodRunning && got.Status.ContainerStatuses[0].Ready, nil
	})
	if err != nil {
		t.Fatalf("the pod does not run: %v", err)
	}
}

// load is a number of clients that write and read without pause.
type load struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
	done   atomic.Int64
	mu     sync.Mutex
	failed []error
}

func startLoad(t *testing.T, client kubernetes.Interface) *load {
	t.Helper()
	const (
		clients = 3
		pause   = 20 * time.Millisecond
	)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	l := &load{cancel: cancel}
	t.Cleanup(cancel)
	for i := range clients {
		l.group.Go(func() {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("load-%d", i)}}
			_ = wait.PollUntilContextCancel(ctx, pause, true, func(context.Context) (bool, error) {
				l.once(client, object)
				return false, nil
			})
		})
	}
	return l
}

// once writes and removes an object. Its requests are not cut off when the load ends.
func (l *load) once(client kubernetes.Interface, object *corev1.ConfigMap) {
	maps := client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	_, err := maps.Create(context.Background(), object, metav1.CreateOptions{})
	if err == nil {
		err = maps.Delete(context.Background(), object.Name, metav1.DeleteOptions{})
	}
	l.done.Add(1)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = append(l.failed, err)
	}
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	l.group.Wait()
	if len(l.failed) > 0 || l.done.Load() == 0 {
		t.Errorf("%d of %d writes beside a disturbed testbed failed: %v", len(l.failed), l.done.Load(), l.failed)
	}
	t.Logf("%d writes, %d failed", l.done.Load(), len(l.failed))
}
