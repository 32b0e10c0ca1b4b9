package guard

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/nodeport"
)

// nodePort checks that a Service of the release can have the port.
func (g *guard) nodePort(ctx context.Context, check hook.NodePortCheck) ([]finding.Finding, error) {
	port := nodeport.Port{Namespace: g.namespace, Service: check.Service, Number: check.Port, Value: check.Value,
		Before: check.Before}
	for _, name := range port.Owners() {
		own, err := kube.Get[corev1.Service](ctx, g.client, kube.Services, g.namespace, name)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("read Service %s/%s: %w", g.namespace, name, err)
		}
		if err == nil && port.HeldBy(own) {
			g.log.Info("node port is already ours", "service", name, "port", check.Port)
			return nil, nil
		}
	}
	answer, err := port.Ask(ctx, g.client, g.namespace, "nap-guard-")
	switch answer {
	case nodeport.Free:
		if !port.Usual() {
			// A dry run does not look at the range, and the range can't be read.
			g.log.Warn("the node port is outside the range that Kubernetes allows by default", "service", check.Service, "port", check.Port, "range", "30000-32767", "value", check.Value)
		}
		g.log.Info("node port is free", "service", check.Service, "port", check.Port)
		return nil, nil
	case nodeport.Allocated:
		return one(port.Taken(g.ownerOf(ctx, port)))
	case nodeport.OutOfRange:
		valid := kube.NodePortRange(err)
		if valid == "" {
			valid = "the API server's range"
		}
		return one(port.Outside(valid))
	case nodeport.Refused:
		return one(finding.Finding{
			ID: finding.AdmissionPolicy, Object: "Service " + g.namespace + "/" + check.Service, Value: check.Value,
			Found: fmt.Sprintf("a Service with node port %d for %s (%s) is refused: %s", check.Port, check.Service, check.Value, kube.Brief(err)),
		})
	}
	switch {
	case kube.MissingPermission(err) != "":
		return nil, err
	case kube.NoNamespace(err, g.namespace):
		g.log.Info("node port not checked: the namespace does not exist yet", "namespace", g.namespace, "port", check.Port)
		return nil, nil
	case kube.NoDryRun(err):
		g.log.Info("node port not checked: it can't be tried", "port", check.Port, "cause", kube.Brief(err))
		return nil, nil
	}
	return nil, fmt.Errorf("try node port %d for %s: %w", check.Port, check.Service, err)
}

// ownerOf names the Service that has the port, if it may be looked up.
func (g *guard) ownerOf(ctx context.Context, port nodeport.Port) string {
	services, err := kube.List[corev1.Service](ctx, g.client, kube.Services, "", metav1.ListOptions{})
	if err != nil {
		return ""
	}
	return port.Owner(services, nil)
}
