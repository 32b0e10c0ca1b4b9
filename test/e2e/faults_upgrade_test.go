//go:build e2e

package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// during is a fault that breaks something while an upgrade runs, and repairs it after that has ended.
func during(breaks, repair func(*testing.T, *faults)) func(*testing.T, *faults) ending {
	return func(t *testing.T, f *faults) ending {
		if repair != nil {
			defer repair(t, f)
		}
		done := f.begin(t, toTen...)
		breaks(t, f)
		got := <-done
		if got.err != nil {
			t.Logf("the upgrade failed after %s: %s", got.took, lastLines(got.output))
			return unfinished
		}
		return isUpgraded
	}
}

// hookPods are the pods that act before an upgrade replaces any service.
func (f *faults) hookPods(ctx context.Context) []corev1.Pod {
	options := metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name"}
	list, err := f.client.CoreV1().Pods(f.namespace).List(ctx, options)
	if err != nil {
		return nil
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		job := pod.Labels["batch.kubernetes.io/job-name"]
		if strings.HasPrefix(job, "nap-bootstrap-") || strings.HasPrefix(job, "nap-seed") {
			continue
		}
		if pod.DeletionTimestamp == nil && (pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodPending) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func (f *faults) awaitHookPod(t *testing.T, match func(corev1.Pod) bool) corev1.Pod {
	t.Helper()
	var found corev1.Pod
	eventually(t, time.Minute, "a pod of a hook", func(ctx context.Context) (bool, string) {
		for _, pod := range f.hookPods(ctx) {
			if match(pod) {
				found = pod
				return true, ""
			}
		}
		return false, "there is none"
	})
	return found
}

func (f *faults) kill(t *testing.T, pod corev1.Pod) {
	t.Helper()
	now := int64(0)
	pods := f.client.CoreV1().Pods(f.namespace)
	err := pods.Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	t.Logf("killed %s", pod.Name)
}

// hookTime is what the hooks of an upgrade take when nothing disturbs them.
const hookTime = 8 * time.Second

func killAnyHook(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	f.pause(t, hookTime)
	pods := f.hookPods(t.Context())
	if len(pods) == 0 {
		t.Log("the hooks were done by then")
		return
	}
	f.kill(t, pods[f.rand.IntN(len(pods))])
}

func upgradeTwice(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	second := f.upgrade(t.Context(), toTen...)
	wantRefused(t, second, time.Minute, "another operation")
}

func deletePrimary(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(pod corev1.Pod) bool { return strings.Contains(pod.Name, "migrate") })
	f.kill(t, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "nap-pg-1"}})
}

// stopNode takes a node's power away until the cluster has noticed, and gives it back.
func stopNode(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	name := f.spareNode(t)
	f.onTestbed(t, "node", "stop", name)
	took := eventually(t, 2*time.Minute, name+" is given up", func(ctx context.Context) (bool, string) {
		node, err := f.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status != corev1.ConditionTrue, string(condition.Status)
			}
		}
		return false, "it has no condition Ready"
	})
	t.Logf("%s was given up after %s", name, took)
	f.onTestbed(t, "node", "start", name)
}

// spareNode is one that the test's requests do not go through, and that the database can't miss: it would have to wait
// for the node, since volumes of the testbed can't leave theirs.
func (f *faults) spareNode(t *testing.T) string {
	t.Helper()
	claim, err := f.client.CoreV1().PersistentVolumeClaims(f.namespace).Get(t.Context(), "nap-pg-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := f.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		if node.Name != f.nodeName && node.Name != claim.Annotations["volume.kubernetes.io/selected-node"] {
			return node.Name
		}
	}
	t.Fatalf("none of %d nodes can be spared", len(nodes.Items))
	return ""
}

func stopOperator(t *testing.T, f *faults) { f.scaleOperator(t, 0) }

func startOperator(t *testing.T, f *faults) { f.scaleOperator(t, 1) }

func restartAPIServer(t *testing.T, f *faults) {
	f.awaitHookPod(t, func(corev1.Pod) bool { return true })
	f.onTestbed(t, "restart", "kube-apiserver")
}

func (f *faults) onTestbed(t testing.TB, args ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), f.testbed, args...).CombinedOutput(); err != nil {
		t.Fatalf("testbed %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}
