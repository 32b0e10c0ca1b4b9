package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applydiscoveryv1 "k8s.io/client-go/applyconfigurations/discovery/v1"
	applystoragev1 "k8s.io/client-go/applyconfigurations/storage/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/provisioner"
)

const fieldManager = "neutree-testbed"

func newClient(c *plan.Cluster) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.Kubeconfig(), err)
	}
	return kubernetes.NewForConfig(config)
}

// applyObjects makes the storage classes and the service of the name server, which runs outside the cluster.
func applyObjects(ctx context.Context, client kubernetes.Interface, c *plan.Cluster) error {
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	for _, class := range storageClasses() {
		if _, err := client.StorageV1().StorageClasses().Apply(ctx, class, options); err != nil {
			return fmt.Errorf("storage class %s: %w", *class.Name, err)
		}
	}
	service, slice := nameService(c)
	if _, err := client.CoreV1().Services(metav1.NamespaceSystem).Apply(ctx, service, options); err != nil {
		return fmt.Errorf("service of the name server: %w", err)
	}
	if _, err := client.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem).Apply(ctx, slice, options); err != nil {
		return fmt.Errorf("endpoints of the name server: %w", err)
	}
	return nil
}

func storageClasses() []*applystoragev1.StorageClassApplyConfiguration {
	class := func(name, provisioner string, mode storagev1.VolumeBindingMode) *applystoragev1.StorageClassApplyConfiguration {
		return applystoragev1.StorageClass(name).WithProvisioner(provisioner).
			WithVolumeBindingMode(mode).WithReclaimPolicy(corev1.PersistentVolumeReclaimDelete)
	}
	return []*applystoragev1.StorageClassApplyConfiguration{
		class("local-path", provisioner.LocalPath, storagev1.VolumeBindingWaitForFirstConsumer).
			WithAnnotations(map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}),
		class("shared", provisioner.Shared, storagev1.VolumeBindingWaitForFirstConsumer).
			WithAnnotations(map[string]string{"storageclass.neutree.ai/is-default-rwx-class": "true"}),
		class("shared-immediate", provisioner.Shared, storagev1.VolumeBindingImmediate),
	}
}

func nameService(c *plan.Cluster) (*applycorev1.ServiceApplyConfiguration, *applydiscoveryv1.EndpointSliceApplyConfiguration) {
	const name = "kube-dns"
	const port = 53
	service := applycorev1.Service(name, metav1.NamespaceSystem).
		WithLabels(map[string]string{"k8s-app": name, "kubernetes.io/name": "CoreDNS"}).
		WithSpec(applycorev1.ServiceSpec().WithClusterIP(c.DNSService()))
	slice := applydiscoveryv1.EndpointSlice(name, metav1.NamespaceSystem).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: name}).
		WithAddressType(discoveryv1.AddressTypeIPv4).
		WithEndpoints(applydiscoveryv1.Endpoint().WithAddresses(c.DNSAddress()).
			WithConditions(applydiscoveryv1.EndpointConditions().WithReady(true)))
	for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		portName := "dns-" + strings.ToLower(string(protocol))
		service.Spec.WithPorts(applycorev1.ServicePort().WithName(portName).WithProtocol(protocol).
			WithPort(port).WithTargetPort(intstr.FromInt32(port)))
		slice.WithPorts(applydiscoveryv1.EndpointPort().WithName(portName).WithProtocol(protocol).WithPort(port))
	}
	return service, slice
}

// awaitNodes waits until each node is ready. Those that were started lately must have said so since: what the API
// server knows of a node that was stopped before is out of date.
func awaitNodes(ctx context.Context, client kubernetes.Interface, names []string, started map[string]time.Time) error {
	var missing []string
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, nil
		}
		missing = unready(names, list.Items, started)
		return len(missing) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("not ready: %s: %w", strings.Join(missing, ", "), err)
	}
	return nil
}

// unready are those of the named nodes that are not ready, or still tainted as if they were not.
func unready(names []string, nodes []corev1.Node, started map[string]time.Time) []string {
	ready := map[string]bool{}
	for _, node := range nodes {
		// The API server's times have no fractions.
		since := started[node.Name].Truncate(time.Second)
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && !condition.LastHeartbeatTime.Time.Before(since) {
				ready[node.Name] = len(node.Spec.Taints) == 0
			}
		}
	}
	var missing []string
	for _, name := range names {
		if !ready[name] {
			missing = append(missing, name)
		}
	}
	return missing
}
