package guard

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// nodePort lets the API server allocate the port in a dry run: nothing else knows all its rules.
func (g *guard) nodePort(ctx context.Context, check hook.NodePortCheck) error {
	own, err := kube.Get[corev1.Service](ctx, g.client, kube.Services, g.namespace, check.Service)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read Service %s/%s: %w", g.namespace, check.Service, err)
	}
	if err == nil && holds(own, check.Port) {
		g.log.Info("node port is already ours", "service", check.Service, "port", check.Port)
		return nil
	}
	err = g.client.Create(ctx, kube.Services, g.namespace, &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "nap-guard-"},
		Spec: corev1.ServiceSpec{
			Type:  corev1.ServiceTypeNodePort,
			Ports: []corev1.ServicePort{{Name: "probe", Port: 80, NodePort: check.Port, Protocol: corev1.ProtocolTCP}},
		},
	}, true)
	switch {
	case err == nil:
		if check.Port < 30000 || check.Port > 32767 {
			// A dry run does not look at the range, and the range can't be read.
			g.log.Warn("the node port is outside the range that Kubernetes allows by default", "service", check.Service, "port", check.Port, "range", "30000-32767", "value", check.Value)
		}
		g.log.Info("node port is free", "service", check.Service, "port", check.Port)
		return nil
	case kube.MissingPermission(err) != "":
		return err
	case noNamespace(err, g.namespace):
		g.log.Info("node port not checked: the namespace does not exist yet", "namespace", g.namespace, "port", check.Port)
		return nil
	case strings.Contains(err.Error(), "port is already allocated"):
		return problemf("node port %d for %s is already taken%s: set %s to a port that is free", check.Port, check.Service, g.ownerOf(ctx, check.Port), check.Value)
	case strings.Contains(err.Error(), "not in the valid range"):
		valid := "the API server's range"
		if named := kube.NodePortRange(err); named != "" {
			valid = named
		}
		return problemf("node port %d for %s is outside %s, which this cluster allows: set %s to a port inside", check.Port, check.Service, valid, check.Value)
	case kube.Permanent(err):
		return problemf("a Service with node port %d for %s (%s) is refused: %s", check.Port, check.Service, check.Value, kube.Brief(err))
	}
	return fmt.Errorf("try node port %d for %s: %w", check.Port, check.Service, err)
}

// ownerOf names the Service that has the port, if it may be looked up.
func (g *guard) ownerOf(ctx context.Context, port int32) string {
	services, err := kube.List[corev1.Service](ctx, g.client, kube.Services, "", metav1.ListOptions{})
	if err != nil {
		return ""
	}
	for i := range services {
		if holds(&services[i], port) {
			return fmt.Sprintf(" by Service %s/%s", services[i].Namespace, services[i].Name)
		}
	}
	return ""
}

func holds(service *corev1.Service, port int32) bool {
	if service.Spec.HealthCheckNodePort == port {
		return true
	}
	for _, p := range service.Spec.Ports {
		if p.NodePort == port {
			return true
		}
	}
	return false
}
