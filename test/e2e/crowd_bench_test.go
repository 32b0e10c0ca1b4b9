//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/neutree-ai/packaging/internal/kube"
)

const (
	crowdNodes = 500
	// crowdAnnotation keeps how many replicas a stopped workspace had.
	crowdAnnotation = "neutree.ai/replicas"
)

// BenchmarkManyWorkspaces takes a release through its life with 10,000 workspaces on 500 nodes, or with as many as
// WORKSPACES says. A hook that needs more than its memory limit is ended by the kernel, and the release with it. The
// workspaces are Deployments that are paused, with a pod, a PVC and a Secret each: objects only, nothing runs.
func BenchmarkManyWorkspaces(b *testing.B) {
	number := 10_000
	if text := os.Getenv("WORKSPACES"); text != "" {
		var err error
		if number, err = strconv.Atoi(text); err != nil {
			b.Fatalf("WORKSPACES: %v", err)
		}
	}
	env := newEnvironment(b)
	r := env.release(env.helm4, "neutree", "nap")
	b.Cleanup(func() { shrink(b, env.client) })
	b.Cleanup(func() { r.purge(b) })
	for b.Loop() {
		r.mustUpgrade(b, "--wait")
		r.crowd(b, number)

		b.ReportMetric(r.mustUpgrade(b, "--wait").took.Seconds(), "s/upgrade")
		if plugin := os.Getenv("HELM_NEUTREE"); plugin != "" {
			took, memory := measure(b, env, plugin, env.client, crowdNodes)
			b.ReportMetric(took.Seconds(), "s/preflight")
			b.ReportMetric(float64(memory>>20), "MiB/preflight")
		}
		bare := r.barePatches(b, number)

		got := r.mustUninstall(b)
		if want := fmt.Sprintf("%d workspaces stopped, the database hibernates", number); !strings.Contains(got.output,
			want) {
			b.Errorf("helm uninstall does not say %q:\n%s", want, got.output)
		}
		teardown := spanOf(b, got.output)
		r.wantReplicas(b, number, 0)
		b.ReportMetric(got.took.Seconds(), "s/uninstall")
		b.ReportMetric(teardown.Seconds(), "s/teardown")
		b.ReportMetric(teardown.Seconds()/bare.Seconds(), "teardown/bare")

		b.ReportMetric(r.mustUpgrade(b, "--wait").took.Seconds(), "s/reinstall")
		r.wantReplicas(b, number, 1)

		// Kubernetes itself deletes what is in the namespace, which takes most of this time.
		r.mustUpgrade(b, "--wait", "--set", "uninstall.deleteData="+r.name, "--set", "global.hooks.timeouts.teardown=1800")
		deleted := r.run(b.Context(), time.Hour, "uninstall", r.name, "--namespace", r.namespace, "--wait", "--timeout",
			"40m")
		if deleted.err != nil || !strings.Contains(deleted.output, "Namespace "+r.workspaces()) {
			b.Errorf("helm uninstall that deletes the data: %v after %s\n%s", deleted.err, deleted.took, deleted.output)
		}
		b.ReportMetric(deleted.took.Seconds(), "s/deleteData")
	}
}

// crowd makes nodes, and workspaces with all that belongs to them.
func (r *release) crowd(b *testing.B, number int) {
	b.Helper()
	namespace := r.workspaces()
	inParallel(b, 0, crowdNodes, func(ctx context.Context, i int) error {
		name := fmt.Sprintf(hugeNodeFmt, i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelArchStable: "amd64", "huge": "yes"}}}
		_, err := r.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		return err
	})
	inParallel(b, 0, number, func(ctx context.Context, i int) error {
		return makeWorkspace(ctx, r.client, namespace, i)
	})
	b.Logf("%d workspaces on %d nodes are made", number, crowdNodes)
}

func makeWorkspace(ctx context.Context, client kubernetes.Interface, namespace string, i int) error {
	name := fmt.Sprintf("tos-crowd-%d", i)
	meta := func(suffix string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name + suffix, Namespace: namespace, Labels: map[string]string{
			"app": "tos", "component": "workspace", "workspace-id": name}}
	}
	pod := hugePod(fmt.Sprintf(hugeNodeFmt, i%crowdNodes), i)
	pod.ObjectMeta = meta("")
	for n := range 60 {
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env,
			corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", n), Value: strings.Repeat("x", 60)})
	}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: *pod.Spec.DeepCopy()}
	template.Spec.NodeName = ""
	replicas, class := int32(1), "no-such-class"
	deployment := &appsv1.Deployment{ObjectMeta: meta(""), Spec: appsv1.DeploymentSpec{
		Paused: true, Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}, Template: template}}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("-workspace"), Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceStorage: resource.MustParse("1Gi")}}}}
	secret := &corev1.Secret{ObjectMeta: meta("-token"), StringData: map[string]string{"WORKSPACE_TOKEN": name}}
	if _, err := client.AppsV1().Deployments(namespace).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := client.CoreV1().PersistentVolumeClaims(namespace).Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{})
	return err
}

// barePatches stops all workspaces by nothing but as many patches at once as a hook sends, and starts them again.
func (r *release) barePatches(b *testing.B, number int) time.Duration {
	b.Helper()
	client, err := kube.NewForConfig(r.config)
	if err != nil {
		b.Fatal(err)
	}
	patch := func(replicas int, annotation any) time.Duration {
		start := time.Now()
		kube.Many(b.Context(), client, func(add func(int)) {
			for i := range number {
				add(i)
			}
		}, func(client *kube.Client, i int) {
			err := client.Merge(b.Context(), kube.Deployments, r.workspaces(), fmt.Sprintf("tos-crowd-%d", i), map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{crowdAnnotation: annotation}},
				"spec":     map[string]any{"replicas": replicas},
			})
			if err != nil {
				b.Error(err)
			}
		})
		return time.Since(start)
	}
	took := patch(0, "1")
	patch(1, nil)
	b.ReportMetric(took.Seconds(), "s/bare")
	return took
}

func (r *release) wantReplicas(b *testing.B, number int, want int32) {
	b.Helper()
	list, err := r.client.AppsV1().Deployments(r.workspaces()).List(b.Context(),
		metav1.ListOptions{LabelSelector: "app=tos"})
	if err != nil || len(list.Items) != number {
		b.Fatalf("%d workspaces, %v, want %d", len(list.Items), err, number)
	}
	for i := range list.Items {
		if got := *list.Items[i].Spec.Replicas; got != want {
			b.Fatalf("workspace %s has %d replicas, want %d", list.Items[i].Name, got, want)
		}
	}
}

var logTime = regexp.MustCompile(`"time":"([^"]+)"`)

// spanOf is the time between the first and the last line that a hook logged, in what helm printed.
func spanOf(b *testing.B, output string) time.Duration {
	b.Helper()
	lines := logTime.FindAllStringSubmatch(output, -1)
	if len(lines) < 2 {
		b.Fatalf("helm prints no log of a hook:\n%s", output)
	}
	first, err := time.Parse(time.RFC3339Nano, lines[0][1])
	if err != nil {
		b.Fatal(err)
	}
	last, err := time.Parse(time.RFC3339Nano, lines[len(lines)-1][1])
	if err != nil {
		b.Fatal(err)
	}
	return last.Sub(first)
}
