//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

func TestNames(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	namespace := newNamespace(t, client, nil)
	for i, node := range nodes(t, client) {
		succeeded, output := runPod(t, client, namespace, shellPod(fmt.Sprintf("known-%d", i), node, "nslookup kubernetes.default.svc.cluster.local", nil))
		if !succeeded || !strings.Contains(output, layout(t).KubernetesService()) {
			t.Errorf("from %s: the cluster's own name is not known:\n%s", node, output)
		}
	}
	succeeded, output := runPod(t, client, namespace, shellPod("unknown", nodes(t, client)[0], "nslookup ghcr.io", nil))
	if succeeded || !strings.Contains(output, "NXDOMAIN") {
		t.Errorf("a public name should be denied at once:\n%s", output)
	}
}

func TestUnknownImageFailsAtOnce(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	namespace := newNamespace(t, client, nil)
	pod := shellPod("stranger", nodes(t, client)[0], "true", nil)
	pod.Spec.Containers[0].Image = "ghcr.io/neutree-ai/never-built:1"
	createPod(t, client, namespace, pod)
	awaitPod(t, client, namespace, pod.Name, func(pod *corev1.Pod) bool {
		for _, status := range pod.Status.ContainerStatuses {
			if status.State.Waiting != nil && status.State.Waiting.Reason == "ErrImagePull" {
				return true
			}
		}
		return false
	})
}

func claim(t *testing.T, client kubernetes.Interface, namespace, name, class string, mode corev1.PersistentVolumeAccessMode) {
	t.Helper()
	spec := corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{mode},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}
	if class != "" {
		spec.StorageClassName = &class
	}
	_, err := client.CoreV1().PersistentVolumeClaims(namespace).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func mounting(pod *corev1.Pod, claim string) *corev1.Pod {
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	// Nobody special, as the platform's services are.
	user := int64(12345)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user}
	return pod
}

func TestSharedVolumesAreOneOnAllNodes(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	all := nodes(t, client)
	for _, class := range []string{"shared", "shared-immediate"} {
		t.Run(class, func(t *testing.T) {
			namespace := newNamespace(t, client, nil)
			claim(t, client, namespace, "data", class, corev1.ReadWriteMany)
			if succeeded, output := runPod(t, client, namespace, mounting(shellPod("writer", all[0], "echo from the first > /data/file", nil), "data")); !succeeded {
				t.Fatalf("cannot write: %s", output)
			}
			for i, node := range all {
				succeeded, output := runPod(t, client, namespace, mounting(shellPod(fmt.Sprintf("reader-%d", i), node, "cat /data/file", nil), "data"))
				if !succeeded || output != "from the first" {
					t.Errorf("%s reads %q", node, output)
				}
			}
		})
	}
}

func TestLocalVolumesStayOnTheirNode(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	namespace := newNamespace(t, client, nil)
	all := nodes(t, client)
	node := all[len(all)-1]
	claim(t, client, namespace, "data", "", corev1.ReadWriteOnce)
	if succeeded, output := runPod(t, client, namespace, mounting(shellPod("writer", node, "echo kept > /data/file", nil), "data")); !succeeded {
		t.Fatalf("cannot write: %s", output)
	}
	anywhere := mounting(shellPod("reader", "", "cat /data/file", nil), "data")
	anywhere.Spec.NodeSelector = nil
	if succeeded, output := runPod(t, client, namespace, anywhere); !succeeded || output != "kept" {
		t.Errorf("reads %q", output)
	}
	reader, err := client.CoreV1().Pods(namespace).Get(t.Context(), "reader", metav1.GetOptions{})
	if err != nil || reader.Spec.NodeName != node {
		t.Errorf("the volume of %s was used on %s: %v", node, reader.Spec.NodeName, err)
	}
}

func TestLocalClassRefusesManyNodes(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	namespace := newNamespace(t, client, nil)
	claim(t, client, namespace, "data", "local-path", corev1.ReadWriteMany)
	createPod(t, client, namespace, mounting(shellPod("user", nodes(t, client)[0], "true", nil), "data"))
	const want = "cannot serve ReadWriteMany: use the class shared"
	awaitEvent(t, client, namespace, want)
}

func awaitEvent(t *testing.T, client kubernetes.Interface, namespace, want string) {
	t.Helper()
	var seen []string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		events, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, nil
		}
		seen = nil
		for _, event := range events.Items {
			seen = append(seen, event.Message)
			if strings.Contains(event.Message, want) {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatalf("no event says %q: %v: %q", want, err, seen)
	}
}

func TestNodePortsAnswerOnEveryNode(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	namespace := newNamespace(t, client, nil)
	labels := map[string]string{"app": "web"}
	createPod(t, client, namespace, shellPod("web", nodes(t, client)[0], "mkdir /tmp/w; echo hello > /tmp/w/index.html; httpd -f -p 8080 -h /tmp/w", labels))
	service, err := client.CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: labels,
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range list.Items {
		url := fmt.Sprintf("http://%s:%d/", node.Status.Addresses[0].Address, service.Spec.Ports[0].NodePort)
		var last error
		err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
			body, err := get(ctx, url)
			last = err
			return body == "hello\n", nil
		})
		if err != nil {
			t.Errorf("%s: %v", url, last)
		}
	}
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
