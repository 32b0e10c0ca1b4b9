// Package nodeport has the rules for the NodePorts of a release: who has one, and whether the API server allows it.
package nodeport

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
)

// The range that Kubernetes allows unless it was set up otherwise.
const (
	UsualFirst = 30000
	UsualLast  = 32767
)

// Port is one that a Service of the release takes on every node.
type Port struct {
	Namespace, Service string
	Number             int32
	// Protocol is TCP if empty.
	Protocol corev1.Protocol
	// Value is the chart value that names the port.
	Value string
	// Before are the release's other Services that may have the port now and give it up.
	Before []string
}

// Transport is the port's protocol.
func (p Port) Transport() corev1.Protocol {
	if p.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return p.Protocol
}

// HeldBy says whether a Service has the port.
func (p Port) HeldBy(service *corev1.Service) bool {
	return service.Spec.HealthCheckNodePort == p.Number || slices.ContainsFunc(service.Spec.Ports, func(other corev1.ServicePort) bool {
		return other.NodePort == p.Number && (other.Protocol == p.Transport() || other.Protocol == "")
	})
}

// Own says whether a Service is the one that the port is for, or one of the release that gives it up.
func (p Port) Own(service *corev1.Service) bool {
	return service.Namespace == p.Namespace && slices.Contains(p.Owners(), service.Name)
}

// Owners are the names of the release's Services that may have the port.
func (p Port) Owners() []string { return append([]string{p.Service}, p.Before...) }

// Usual says whether the port is in the range that Kubernetes allows unless it was set up otherwise.
func (p Port) Usual() bool { return p.Number >= UsualFirst && p.Number <= UsualLast }

// Owner names another Service that has the port, "" if there is none. Services that skip picks do not count.
func (p Port) Owner(services []corev1.Service, skip func(*corev1.Service) bool) string {
	for i := range services {
		if s := &services[i]; p.HeldBy(s) && !p.Own(s) && (skip == nil || !skip(s)) {
			return "Service " + s.Namespace + "/" + s.Name
		}
	}
	return ""
}

// Taken is the finding for a port that owner has, "" for someone unknown.
func (p Port) Taken(owner string) finding.Finding {
	f := p.finding(finding.ExposureNodePortFree, "is already taken")
	if owner != "" {
		f.Found += " by " + owner
	}
	f.Fix = fmt.Sprintf("set %s to a port that is free", p.Value)
	return f
}

// Outside is the finding for a port outside the range that the cluster allows.
func (p Port) Outside(valid string) finding.Finding {
	f := p.finding(finding.ExposureNodePortRange, fmt.Sprintf("is outside %s, which this cluster allows", valid))
	f.Fix = fmt.Sprintf("set %s to a port inside", p.Value)
	return f
}

func (p Port) finding(id finding.ID, text string) finding.Finding {
	return finding.Finding{
		ID: id, Severity: finding.Error, Object: "Service " + p.Namespace + "/" + p.Service, Value: p.Value,
		Found: fmt.Sprintf("node port %d for %s %s", p.Number, p.Service, text),
	}
}

// Answer is what the API server says of a port in a dry run.
type Answer int

// The answers.
const (
	// Free: nothing speaks against the port, but a dry run does not look at the range.
	Free Answer = iota
	// Allocated: a Service has it.
	Allocated
	// OutOfRange: the API server does not hand it out.
	OutOfRange
	// Refused: for another reason, for good.
	Refused
	// Unasked: the caller lacks the right, the namespace does not exist, a webhook takes no dry runs, or the API server did
	// not answer.
	Unasked
)

// Ask lets the API server allocate the port in a dry run in a namespace: nothing else knows all its rules. The error is
// the API server's own.
func (p Port) Ask(ctx context.Context, client *kube.Client, namespace, prefix string) (Answer, error) {
	err := client.Create(ctx, kube.Services, namespace, &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix},
		Spec: corev1.ServiceSpec{
			Type:  corev1.ServiceTypeNodePort,
			Ports: []corev1.ServicePort{{Name: "probe", Port: 80, NodePort: p.Number, Protocol: p.Transport()}},
		},
	}, true)
	switch {
	case err == nil:
		return Free, nil
	case kube.MissingPermission(err) != "", kube.NoNamespace(err, namespace), kube.NoDryRun(err):
		return Unasked, err
	case strings.Contains(err.Error(), "port is already allocated"):
		return Allocated, err
	case strings.Contains(err.Error(), "not in the valid range"):
		return OutOfRange, err
	case kube.Permanent(err):
		return Refused, err
	}
	return Unasked, err
}
