//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

// image is the testbed's busybox, by the name that everybody knows it by.
const image = "busybox:1.35"

// within bounds every wait: generous, for a machine that is busy with other things.
const within = 2 * time.Minute

// parallel is how many tests run at a time: they wait for pods more than they work.
const parallel = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func newClient(t *testing.T) kubernetes.Interface {
	t.Helper()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Fatal("KUBECONFIG is not set: run testbed up and set it to what testbed kubeconfig prints")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	// The tests ask for many pods at once.
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// layout is the plan of the testbed, which has the addresses that a test means.
func layout(t *testing.T) *plan.Cluster {
	t.Helper()
	c, err := plan.Load(filepath.Dir(os.Getenv("KUBECONFIG")))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newNamespace makes a namespace that goes with the test.
func newNamespace(t *testing.T, client kubernetes.Interface, labels map[string]string) string {
	t.Helper()
	namespaces := client.CoreV1().Namespaces()
	made, err := namespaces.Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "testbed-e2e-", Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := namespaces.Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made.Name
}

// nodes are the names of the cluster's nodes, sorted; all are ready.
func nodes(t *testing.T, client kubernetes.Interface) []string {
	t.Helper()
	list, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, node := range list.Items {
		names = append(names, node.Name)
	}
	if len(names) == 0 {
		t.Fatal("the cluster has no nodes")
	}
	slices.Sort(names)
	return names
}

// shellPod runs a script on a node.
func shellPod(name, node, script string, labels map[string]string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeSelector:                  map[string]string{corev1.LabelHostname: node},
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "main", Image: image, ImagePullPolicy: corev1.PullAlways, Command: []string{"sh", "-c", script},
			}},
		},
	}
}

func createPod(t *testing.T, client kubernetes.Interface, namespace string, pod *corev1.Pod) {
	t.Helper()
	if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitPod waits until done says so, and fails with what the pod says about itself.
func awaitPod(t *testing.T, client kubernetes.Interface, namespace, name string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		var err error
		pod, err = client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && done(pod), nil
	})
	if err != nil {
		t.Fatalf("pod %s/%s: %v: %s", namespace, name, err, describe(t, client, pod))
	}
	return pod
}

func describe(t *testing.T, client kubernetes.Interface, pod *corev1.Pod) string {
	t.Helper()
	if pod == nil {
		return "it was never seen"
	}
	events, err := client.CoreV1().Events(pod.Namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name})
	if err != nil {
		return err.Error()
	}
	text := string(pod.Status.Phase)
	for _, event := range events.Items {
		text += fmt.Sprintf("\n  %s: %s", event.Reason, event.Message)
	}
	return text
}

func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// runPod runs a pod to its end and returns whether it succeeded and what it wrote.
func runPod(t *testing.T, client kubernetes.Interface, namespace string, pod *corev1.Pod) (bool, string) {
	t.Helper()
	createPod(t, client, namespace, pod)
	finished := awaitPod(t, client, namespace, pod.Name, ended)
	output, err := client.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("log of pod %s/%s: %v", namespace, pod.Name, err)
	}
	return finished.Status.Phase == corev1.PodSucceeded, strings.TrimSpace(string(output))
}
