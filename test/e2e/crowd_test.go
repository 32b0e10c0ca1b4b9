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
	args := []string{"--v=WARN", "--kubeconfig", variable(b, "KUBECONFIG"), "--manage-all-nodes=false",
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

// crowd is many workspaces.
type crowd struct {
	*release
	number int
	// direct says that the benchmark makes the workspaces' pods, once, on their nodes, and that their Deployments are
	// paused and their PVCs stay unbound. That spares the controllers of Kubernetes nine tenths of the work.
	direct bool
}

// know has the database know the workspaces: one that it does not know is not started again.
func (r *crowd) know(b *testing.B) {
	b.Helper()
	r.sql(b, fmt.Sprintf(`INSERT INTO public.workspaces (id, owner_id, name, agent_type)
		SELECT 'tos-crowd-' || n, (SELECT min(id) FROM public.users), 'crowd ' || n, 'goose'
		FROM generate_series(0, %d) AS n`, r.number-1))
}

// remove uninstalls the release, with time for a machine on which much else runs.
func (r *crowd) remove(b *testing.B) result {
	b.Helper()
	got := r.run(b.Context(), time.Hour, "uninstall", r.name, "--namespace", r.namespace, "--wait", "--timeout", "50m")
	if got.err != nil {
		r.dump(b)
		b.Fatalf("helm uninstall: %v after %s\n%s", got.err, got.took, got.output)
	}
	b.Logf("helm uninstall: %s\n%s", got.took, got.output)
	return got
}

// create makes the workspaces as an uninstall leaves them: stopped, with their PVCs and Secrets.
func (r *crowd) create(b *testing.B) {
	b.Helper()
	inParallel(b, 0, r.number, func(ctx context.Context, i int) error {
		return r.createWorkspace(ctx, i)
	})
	if r.direct {
		return
	}
	r.await(b, "PVCs to be bound", func(ctx context.Context) (int, error) {
		unbound := r.number
		err := kube.Each(ctx, r.hooksClient(b), kube.Claims, r.workspaces(), metav1.ListOptions{},
			func(claim *corev1.PersistentVolumeClaim) {
				if claim.Status.Phase == corev1.ClaimBound {
					unbound--
				}
			})
		return unbound, err
	})
}

func (r *crowd) createWorkspace(ctx context.Context, i int) error {
	client, namespace, name := r.client, r.workspaces(), fmt.Sprintf(crowdFmt, i)
	meta := func(suffix string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name + suffix, Namespace: namespace, Labels: crowdLabels(name)}
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("-workspace"), Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: new("shared-immediate"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceStorage: resource.MustParse("1Gi")}}}}
	if r.direct {
		// It waits for a volume that never comes, which nothing tries to make.
		claim.Spec.StorageClassName, claim.Spec.VolumeName = new(""), name
	}
	secret := &corev1.Secret{ObjectMeta: meta("-token"), StringData: map[string]string{"WORKSPACE_TOKEN": name}}
	deployment := &appsv1.Deployment{ObjectMeta: meta(""), Spec: appsv1.DeploymentSpec{
		Paused: r.direct, Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: crowdLabels(name)},
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: crowdLabels(name)}, Spec: workspacePod(name)}}}
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

func crowdLabels(name string) map[string]string {
	return map[string]string{"app": "tos", "component": "workspace", workspaces.IDLabel: name}
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

// stopped is how many of the workspaces a hook has stopped and not started again.
func (r *crowd) stopped(ctx context.Context, b *testing.B) (int, error) {
	b.Helper()
	number := 0
	err := r.hooksClient(b).EachMetadata(ctx, kube.Deployments, r.workspaces(),
		metav1.ListOptions{LabelSelector: workspaces.Selector}, func(d *metav1.PartialObjectMetadata) {
			if d.Annotations[workspaces.ReplicasAnnotation] != "" {
				number++
			}
		})
	return number, err
}

// awaitResumed waits until the hook has started every workspace, for which Helm does not wait.
func (r *crowd) awaitResumed(b *testing.B) time.Duration {
	b.Helper()
	return r.await(b, "workspaces to be started", func(ctx context.Context) (int, error) { return r.stopped(ctx, b) })
}

// awaitRunning waits until every workspace has a pod that runs, and returns how long that took.
func (r *crowd) awaitRunning(b *testing.B) time.Duration {
	b.Helper()
	begin := time.Now()
	if present, err := r.count(b.Context(), kube.Pods); err != nil {
		b.Fatal(err)
	} else if r.direct && present == 0 {
		inParallel(b, 0, r.number, func(ctx context.Context, i int) error {
			name := fmt.Sprintf(crowdFmt, i)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: crowdLabels(name)}, Spec: workspacePod(name)}
			pod.Spec.NodeName = fmt.Sprintf(hugeNodeFmt, i%crowdNodes)
			_, err := r.client.CoreV1().Pods(r.workspaces()).Create(ctx, pod, metav1.CreateOptions{})
			return err
		})
	}
	r.awaitPods(b, r.number)
	return time.Since(begin)
}

// awaitStopped waits until no workspace has a pod any more, and returns how long that took.
func (r *crowd) awaitStopped(b *testing.B) time.Duration {
	b.Helper()
	if r.direct {
		return 0
	}
	return r.awaitPods(b, 0)
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
	err := wait.PollUntilContextTimeout(b.Context(), 5*time.Second, settled, true,
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
func (r *crowd) barePatches(b *testing.B) time.Duration {
	b.Helper()
	start := time.Now()
	kube.Many(b.Context(), r.hooksClient(b), func(add func(int)) {
		for i := range r.number {
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
