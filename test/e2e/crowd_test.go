//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/workspaces"
)

const (
	crowdNodes = 500
	// crowdFmt is the name of a workspace.
	crowdFmt = "tos-crowd-%d"
	// kwokNode marks the nodes that kwok plays. Only pods that tolerate it get there.
	kwokNode = "kwok.x-k8s.io/node"
	// settled bounds every wait for Kubernetes.
	settled = 90 * time.Minute
)

// playNodes has kwok play nodes until the benchmark ends: they are ready, and pods on them run in name only.
func (e *environment) playNodes(b *testing.B, nodes int) {
	b.Helper()
	inParallel(b, 0, nodes, func(ctx context.Context, i int) error {
		name := fmt.Sprintf(hugeNodeFmt, i)
		amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"),
			corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110")}
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{kwokNode: "fake"},
				Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelArchStable: "amd64",
					corev1.LabelOSStable: "linux", "huge": "yes"}},
			Spec: corev1.NodeSpec{Taints: []corev1.Taint{
				{Key: kwokNode, Value: "fake", Effect: corev1.TaintEffectNoSchedule}}},
			Status: corev1.NodeStatus{Capacity: amounts, Allocatable: amounts},
		}
		_, err := e.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		return err
	})
	stages := variable(b, "KWOK_STAGES")
	args := []string{"--kubeconfig", variable(b, "KUBECONFIG"), "--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector", kwokNode + "=fake", "--cidr", "10.0.0.0/16",
		// Each node renews its Lease every 30 seconds, a quarter of this.
		"--node-lease-duration-seconds", "120"}
	for _, stage := range []string{"node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease",
		"pod/fast/pod-ready", "pod/fast/pod-delete"} {
		args = append(args, "--config", filepath.Join(stages, stage+".yaml"))
	}
	log, err := os.Create(filepath.Join(b.TempDir(), "kwok.log"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, variable(b, "KWOK"), args...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		b.Fatalf("start kwok: %v", err)
	}
	b.Cleanup(func() {
		cancel()
		_ = command.Wait()
		if text, err := os.ReadFile(log.Name()); b.Failed() && err == nil {
			b.Logf("the last that kwok said:\n%s", text[max(0, len(text)-4096):])
		}
		log.Close()
	})
	err = wait.PollUntilContextTimeout(b.Context(), time.Second, 5*time.Minute, true,
		func(ctx context.Context) (bool, error) {
			list, err := e.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "huge=yes"})
			if err != nil {
				return false, nil
			}
			ready := 0
			for _, node := range list.Items {
				for _, condition := range node.Status.Conditions {
					if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
						ready++
					}
				}
			}
			return ready == nodes, nil
		})
	if err != nil {
		b.Fatalf("%d nodes of kwok are not ready: %v", nodes, err)
	}
}

// makeCrowd makes workspaces as an uninstall leaves them: stopped, with their PVCs, which the testbed binds, and
// Secrets.
func (r *release) makeCrowd(b *testing.B, number int) {
	b.Helper()
	inParallel(b, 0, number, func(ctx context.Context, i int) error {
		return makeWorkspace(ctx, r.client, r.workspaces(), i)
	})
	r.await(b, "PVCs to be bound", func(ctx context.Context) (int, error) {
		unbound := number
		err := kube.Each(ctx, r.hooksClient(b), kube.Claims, r.workspaces(), metav1.ListOptions{},
			func(claim *corev1.PersistentVolumeClaim) {
				if claim.Status.Phase == corev1.ClaimBound {
					unbound--
				}
			})
		return unbound, err
	})
}

func makeWorkspace(ctx context.Context, client kubernetes.Interface, namespace string, i int) error {
	name := fmt.Sprintf(crowdFmt, i)
	labels := map[string]string{"app": "tos", "component": "workspace", workspaces.IDLabel: name}
	meta := func(suffix string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name + suffix, Namespace: namespace, Labels: labels}
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("-workspace"), Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: new("shared-immediate"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceStorage: resource.MustParse("1Gi")}}}}
	secret := &corev1.Secret{ObjectMeta: meta("-token"), StringData: map[string]string{"WORKSPACE_TOKEN": name}}
	deployment := &appsv1.Deployment{ObjectMeta: meta(""), Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: workspacePod(name)}}}
	deployment.Annotations = map[string]string{workspaces.ReplicasAnnotation: "1"}
	if _, err := client.CoreV1().PersistentVolumeClaims(namespace).Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := client.AppsV1().Deployments(namespace).Create(ctx, deployment, metav1.CreateOptions{})
	return err
}

// workspacePod is about as large as that of the platform, and runs on the nodes of kwok only.
func workspacePod(name string) corev1.PodSpec {
	spec := hugePod("", 0).Spec
	spec.NodeSelector = map[string]string{"huge": "yes"}
	spec.Volumes = []corev1.Volume{{Name: "workspace", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name + "-workspace"}}}}
	container := &spec.Containers[0]
	container.VolumeMounts = []corev1.VolumeMount{{Name: "workspace", MountPath: "/workspace"}}
	container.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name + "-token"}}}}
	for n := range 60 {
		container.Env = append(container.Env,
			corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", n), Value: strings.Repeat("x", 60)})
	}
	return spec
}

// hooksClient is a client as the hooks have it.
func (r *release) hooksClient(b *testing.B) *kube.Client {
	b.Helper()
	client, err := kube.NewForConfig(r.config)
	if err != nil {
		b.Fatal(err)
	}
	return client
}

// awaitPods waits until as many pods of workspaces run, and no other is there.
func (r *release) awaitPods(b *testing.B, number int) time.Duration {
	b.Helper()
	client := r.hooksClient(b)
	return r.await(b, fmt.Sprintf("%d pods to run", number), func(ctx context.Context) (int, error) {
		present, err := r.count(ctx, kube.Pods)
		if err != nil || present != number {
			return max(present-number, number-present), err
		}
		others := 0
		options := metav1.ListOptions{FieldSelector: "status.phase!=Running"}
		err = client.EachMetadata(ctx, kube.Pods, r.workspaces(), options,
			func(*metav1.PartialObjectMetadata) { others++ })
		return others, err
	})
}

// count is how many objects of a kind are in the namespace of the workspaces, by a list of one of them.
func (r *release) count(ctx context.Context, kind schema.GroupVersionResource) (int, error) {
	list, err := r.dynamic.Resource(kind).Namespace(r.workspaces()).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	number := len(list.Items)
	if more := list.GetRemainingItemCount(); more != nil {
		number += int(*more)
	}
	return number, nil
}

// await waits until nothing is left, and returns how long that took.
func (r *release) await(b *testing.B, what string, left func(context.Context) (int, error)) time.Duration {
	b.Helper()
	begin, last := time.Now(), 0
	err := wait.PollUntilContextTimeout(b.Context(), 2*time.Second, settled, true,
		func(ctx context.Context) (bool, error) {
			number, err := left(ctx)
			if err != nil {
				return false, nil
			}
			last = number
			return number == 0, nil
		})
	if err != nil {
		b.Fatalf("wait for %s: %d are left: %v", what, last, err)
	}
	b.Logf("waited %s for %s", time.Since(begin).Round(time.Second), what)
	return time.Since(begin)
}

// barePatches stops all workspaces by nothing but as many patches at once as a hook sends, and returns how long that
// took.
func (r *release) barePatches(b *testing.B, number int) time.Duration {
	b.Helper()
	start := time.Now()
	kube.Many(b.Context(), r.hooksClient(b), func(add func(int)) {
		for i := range number {
			add(i)
		}
	}, func(client *kube.Client, i int) {
		err := client.Merge(b.Context(), kube.Deployments, r.workspaces(), fmt.Sprintf(crowdFmt, i), map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{workspaces.ReplicasAnnotation: "1"}},
			"spec":     map[string]any{"replicas": 0},
		})
		if err != nil {
			b.Error(err)
		}
	})
	return time.Since(start)
}
