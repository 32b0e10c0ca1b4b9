//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A namespace whose pods get a container that never ends, and that refuse connections without mutual TLS: an install, its
// test, an upgrade and an uninstall end all the same.
func TestMesh(t *testing.T) {
	env := newEnvironment(t)
	env.applyFile(t, peersFile(t, "mesh"))
	for _, kind := range []string{"istio", "linkerd"} {
		t.Run(kind, func(t *testing.T) {
			r := env.release(env.helm4, "neutree", "nap")
			t.Cleanup(func() { r.purge(t) })
			r.createNamespace(t, nil)
			m := env.startMesh(t, kind, r.namespace)
			m.wantUnendingJob(t)
			values := []string{"--wait", "--set", "global.mesh=" + kind, "--set", "global.networkPolicies.enabled=false"}
			r.mustUpgrade(t, values...)
			m.wantProxies(t)
			m.wantPlaintextRefused(t, r)
			// Users come by a node port, and workspaces from a namespace outside the mesh.
			r.createWorkspace(t, r.login(t), "outside-the-mesh")
			if got := r.run(t.Context(), 5*time.Minute, "test", r.name, "--namespace", r.namespace); got.err != nil {
				t.Errorf("helm test: %v\n%s", got.err, got.output)
			}
			r.mustUpgrade(t, append(values, "--set", "global.backup.retention=6")...)
			r.mustUninstall(t)
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, job := range []string{"nap-prepare", "nap-bootstrap", "nap-seed", "nap-test", "nap-teardown"} {
				if !m.passed[job] {
					t.Errorf("no pod of %s opted out: %v did", job, m.passed)
				}
			}
		})
	}
}

// wantUnendingJob asserts that the double does what it is for: a Job whose pod does not opt out never ends, although its
// own container does.
func (m *mesh) wantUnendingJob(t *testing.T) {
	t.Helper()
	jobs := m.client.BatchV1().Jobs(m.namespace)
	job, err := jobs.Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "unaware"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "work", Image: "docker.io/library/busybox:1.35", Command: []string{"true"}}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the work of a Job that does not opt out is done", func(ctx context.Context) (bool, string) {
		pods, err := m.client.CoreV1().Pods(m.namespace).List(ctx, metav1.ListOptions{LabelSelector: "job-name=unaware"})
		if err != nil || len(pods.Items) != 1 {
			return false, fmt.Sprint(len(pods.Items), err)
		}
		done, proxied := false, false
		for _, status := range pods.Items[0].Status.ContainerStatuses {
			done = done || status.Name == "work" && status.State.Terminated != nil
			proxied = proxied || status.Name == proxyName && status.State.Running != nil
		}
		return done && proxied, fmt.Sprintf("%+v", pods.Items[0].Status.ContainerStatuses)
	})
	job, err = jobs.Get(t.Context(), job.Name, metav1.GetOptions{})
	if err != nil || job.Status.Active != 1 || job.Status.CompletionTime != nil {
		t.Errorf("a Job whose pod got a proxy has ended: %+v, %v", job.Status, err)
	}
	background := metav1.DeletePropagationBackground
	if err := jobs.Delete(t.Context(), job.Name, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Error(err)
	}
}

// wantProxies asserts which pods are in the mesh: those of the services, and no others.
func (m *mesh) wantProxies(t *testing.T) {
	t.Helper()
	pods, err := m.client.CoreV1().Pods(m.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	with := map[string]bool{}
	for _, pod := range pods.Items {
		app := pod.Labels["app"]
		proxied := slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == proxyName })
		with[app] = with[app] || proxied
		if proxied && (pod.Labels["cnpg.io/cluster"] != "" || pod.Labels[batchv1.JobNameLabel] != "" && app != "") {
			t.Errorf("pod %s has a proxy", pod.Name)
		}
	}
	for _, app := range []string{"nap-cp", "nap-cg", "nap-skills", "nap-scheduler", "nap-env-runner-k8s", "afs-controller"} {
		if !with[app] {
			t.Errorf("%s is not in the mesh", app)
		}
	}
}

// wantPlaintextRefused asserts that the double refuses a pod without a proxy where the release does not let it in, and
// admits it where it does.
func (m *mesh) wantPlaintextRefused(t *testing.T, r *release) {
	t.Helper()
	for _, c := range []struct {
		app  string
		port int
		open bool
	}{{"nap-cp", 3080, true}, {"afs-controller", 9100, true}, {"nap-skills", 3008, m.kind == "linkerd"}} {
		address := r.podIP(t, r.namespace, "app="+c.app)
		if got := r.strangerConnects(t, address, c.port); got != c.open {
			t.Errorf("a pod outside the mesh connects to port %d of %s: %t, want %t", c.port, c.app, got, c.open)
		}
	}
}
