//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wantClosedToStrangers asserts that a pod of another namespace reaches the web interface, and nothing else of
// the platform.
func (r *release) wantClosedToStrangers(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		namespace, selector string
		port                int
		open                bool
	}{
		{r.namespace, "app=nap-cp", 3080, true},
		{r.namespace, "app=nap-cp", 3000, false},
		{r.namespace, "app=nap-cp", 9090, false},
		{r.namespace, "app=nap-cg", 3002, false},
		{r.namespace, "app=nap-skills", 3008, false},
		{r.namespace, "app=afs-controller", 9100, false},
		{r.namespace, "cnpg.io/cluster=nap-pg", 5432, false},
		{r.workspaces(), "app=tos", 3001, false},
	} {
		pods, err := r.client.CoreV1().Pods(c.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: c.selector})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) == 0 {
			t.Fatalf("no pod in namespace %s with %s", c.namespace, c.selector)
		}
		address := pods.Items[0].Status.PodIP
		if got := r.strangerConnects(t, address, c.port); got != c.open {
			t.Errorf("a stranger connects to port %d of the pod with %s: %v, want %v", c.port, c.selector, got, c.open)
		}
	}
}

// strangerConnects runs a pod in the namespace default that tries to connect.
func (r *release) strangerConnects(t *testing.T, address string, port int) bool {
	t.Helper()
	return r.podConnects(t, metav1.NamespaceDefault, nil, address, port)
}

// podConnects runs a pod with labels that tries to connect.
func (r *release) podConnects(t *testing.T, namespace string, labels map[string]string, address string, port int) bool {
	t.Helper()
	pods := r.client.CoreV1().Pods(namespace)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "stranger-", Labels: labels},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "nc", Image: "docker.io/library/busybox:1.35", Command: []string{"nc", "-w", "3", address, strconv.Itoa(port)},
			}},
		},
	}
	pod, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now := int64(0)
		if err := pods.Delete(context.Background(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Errorf("delete pod %s: %v", pod.Name, err)
		}
	})
	var phase corev1.PodPhase
	eventually(t, time.Minute, "pod "+pod.Name+" ends", func(ctx context.Context) (bool, string) {
		got, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		phase = got.Status.Phase
		return phase == corev1.PodSucceeded || phase == corev1.PodFailed, fmt.Sprintf("it is %s", phase)
	})
	return phase == corev1.PodSucceeded
}
