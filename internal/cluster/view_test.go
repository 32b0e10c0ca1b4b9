package cluster_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

func TestOnceAsksOnce(t *testing.T) {
	v, err := cluster.New(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	ask := func(context.Context) (int, error) { return int(asked.Add(1)), nil }
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got, err := cluster.Once(t.Context(), v, "key", ask); got != 1 || err != nil {
				t.Errorf("answer = %d, %v, want that of the first", got, err)
			}
		})
	}
	all.Wait()
	v.Forget()
	if got, _ := cluster.Once(t.Context(), v, "key", ask); got != 2 {
		t.Errorf("after Forget the answer = %d, want a new one", got)
	}
}

func TestOnceKeepsErrorsButNoneOfADeadline(t *testing.T) {
	v, err := cluster.New(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	fails := func(ctx context.Context) (int, error) {
		asked++
		return 0, errors.Join(errors.New("no"), ctx.Err())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{ended, t.Context(), t.Context()} {
		if _, err := cluster.Once(ctx, v, "key", fails); err == nil {
			t.Error("the error is lost")
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want twice: what a deadline cut off says nothing", asked)
	}
}

func TestHide(t *testing.T) {
	server := kubetest.New(t, "{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: nap}, data: {username: bmFwdXNlcg==, password: aHVudGVyMg==}}")
	v, err := cluster.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := v.Secret(t.Context(), "nap", "db")
	if err != nil || secret == nil {
		t.Fatalf("Secret = %v, %v", secret, err)
	}
	if got := v.Hide("napuser with hunter2 (aHVudGVyMg==)"); got != "napuser with *** (***)" {
		t.Errorf("Hide = %q", got)
	}
	if missing, err := v.Secret(t.Context(), "nap", "none"); missing != nil || err != nil {
		t.Errorf("a Secret that is not there = %v, %v, want neither", missing, err)
	}
}

func TestRequestsOf(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}}
	}
	always := corev1.ContainerRestartPolicyAlways
	spec := corev1.PodSpec{
		Containers:     []corev1.Container{{Resources: list("100m", "100Mi")}, {Resources: list("200m", "50Mi")}},
		InitContainers: []corev1.Container{{Resources: list("1", "10Mi")}, {Resources: list("50m", "20Mi"), RestartPolicy: &always}, {Resources: list("10m", "300Mi")}},
		Overhead:       corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m")},
	}
	if got, want := cluster.RequestsOf(&spec), (cluster.Amount{MilliCPU: 1005, Memory: 320 << 20, Pods: 1}); got != want {
		t.Errorf("RequestsOf = %+v, want %+v", got, want)
	}
}
