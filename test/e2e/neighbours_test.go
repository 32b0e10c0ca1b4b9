//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// neighbours is the namespace of what the platform works with and does not install: its manifests are in
// testdata/neighbours.
const neighbours = "nap-neighbours"

// meetNeighbours makes the namespace.
func (e *environment) meetNeighbours(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: neighbours}}
	if _, err := e.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		e.deleteNamespace(ctx, t, neighbours)
	})
}

// applyNeighbour applies a file and waits until the Deployment in it is ready.
func (e *environment) applyNeighbour(t *testing.T, name, deployment string) {
	t.Helper()
	e.applyFile(t, filepath.Join("testdata", "neighbours", name+".yaml"))
	t.Cleanup(func() {
		if t.Failed() {
			(&release{environment: e, namespace: neighbours}).dump(t)
		}
	})
	eventually(t, 2*time.Minute, deployment+" is ready", func(ctx context.Context) (bool, string) {
		got, err := e.client.AppsV1().Deployments(neighbours).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return got.Status.ObservedGeneration == got.Generation && got.Status.ReadyReplicas == *got.Spec.Replicas, fmt.Sprintf("%d of its pods are ready", got.Status.ReadyReplicas)
	})
}

// putSecret makes a Secret.
func (e *environment) putSecret(t *testing.T, namespace, name string, data map[string]string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}
	if _, err := e.client.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
