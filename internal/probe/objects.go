package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Volume is a claim of the session.
type Volume struct {
	Name      string
	Namespace string
	Class     string

	session *Session
}

// Claim asks for a volume.
func (s *Session) Claim(ctx context.Context, namespace, class string, mode corev1.PersistentVolumeAccessMode, size resource.Quantity) (*Volume, error) {
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: s.meta(namespace, s.name(class)),
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{mode},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		},
	}
	if err := s.config.Client.Create(ctx, kube.Claims, namespace, claim, false); err != nil {
		return nil, fmt.Errorf("ask for a volume of class %s in namespace %s: %w", class, namespace, err)
	}
	return &Volume{Name: claim.Name, Namespace: namespace, Class: class, session: s}, nil
}

// Mount is the volume as a pod's.
func (v *Volume) Mount(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.Name},
	}}
}

// Grow asks for a larger volume and waits until the claim says that it is, or ctx ends.
func (v *Volume) Grow(ctx context.Context, size resource.Quantity) error {
	client := v.session.config.Client
	err := client.Merge(ctx, kube.Claims, v.Namespace, v.Name, map[string]any{
		"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": size.String()}}},
	})
	if err != nil {
		return fmt.Errorf("ask for a larger volume: %w", err)
	}
	for {
		claim, err := kube.Get[corev1.PersistentVolumeClaim](ctx, client, kube.Claims, v.Namespace, v.Name)
		if err != nil {
			return fmt.Errorf("look at the claim: %w", err)
		}
		if got := claim.Status.Capacity[corev1.ResourceStorage]; got.Cmp(size) >= 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			got := claim.Status.Capacity[corev1.ResourceStorage]
			return fmt.Errorf("the claim is still of %s, not %s", got.String(), size.String())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// Kept says that a volume stays in the cluster after its claim is gone.
type Kept struct {
	Volume string
	Cause  string
}

// Error says what stays.
func (k *Kept) Error() string { return fmt.Sprintf("volume %s stays: %s", k.Volume, k.Cause) }

// Unseen says that whether a volume went with its claim could not be checked.
type Unseen struct {
	Volume string
	Err    error
}

// Error says why.
func (u *Unseen) Error() string {
	return fmt.Sprintf("whether volume %s is deleted could not be checked: %v", u.Volume, u.Err)
}

// Unwrap is the API server's answer.
func (u *Unseen) Unwrap() error { return u.Err }

// Remove deletes the claim and waits until its volume is gone too. A class that keeps volumes is told to let go of
// this one, which holds nothing.
func (v *Volume) Remove(ctx context.Context) error {
	client := v.session.config.Client
	claim, err := kube.Get[corev1.PersistentVolumeClaim](ctx, client, kube.Claims, v.Namespace, v.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the claim: %w", err)
	}
	name := claim.Spec.VolumeName
	byHand, err := letGo(ctx, client, name)
	if err != nil {
		return err
	}
	err = client.Resource(kube.Claims, v.Namespace).Delete(ctx, v.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the claim: %w", err)
	}
	if name == "" || byHand {
		return nil
	}
	return goneVolume(ctx, client, name)
}

// goneVolume waits until a volume is gone.
func goneVolume(ctx context.Context, client *kube.Client, name string) error {
	for {
		volume, err := kube.Get[corev1.PersistentVolume](ctx, client, kube.Volumes, "", name)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case apierrors.IsForbidden(err):
			return &Unseen{name, err}
		case err == nil && volume.Status.Phase == corev1.VolumeFailed:
			return &Kept{name, volume.Status.Message}
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("look at volume %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return &Kept{name, "it is not deleted in time"}
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// letGo tells a class that keeps volumes to delete this one. A volume made by hand is not ours to delete.
func letGo(ctx context.Context, client *kube.Client, name string) (byHand bool, err error) {
	if name == "" {
		return false, nil
	}
	volume, err := kube.Get[corev1.PersistentVolume](ctx, client, kube.Volumes, "", name)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at volume %s: %w", name, err)
	}
	if volume.Annotations["pv.kubernetes.io/provisioned-by"] == "" {
		return true, nil
	}
	if volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		return false, nil
	}
	err = client.Merge(ctx, kube.Volumes, "", name, map[string]any{"spec": map[string]any{"persistentVolumeReclaimPolicy": "Delete"}})
	if err != nil {
		return false, errors.Join(&Kept{name, "its class keeps volumes"}, err)
	}
	return false, nil
}

// NodePort is a port that a Service of the session has on every node.
type NodePort struct {
	Port int32

	session         *Session
	namespace, name string
}

// NodePort makes a Service of type NodePort that leads to the session's pods with the labels, on a port of the
// cluster's choice if port is 0.
func (s *Session) NodePort(ctx context.Context, namespace string, selector map[string]string, port, target int32) (*NodePort, error) {
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: s.meta(namespace, s.name("node-port")),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeNodePort,
			Selector: selector,
			Ports:    []corev1.ServicePort{{Port: target, TargetPort: intstr.FromInt32(target), NodePort: port}},
		},
	}
	if err := s.config.Client.Create(ctx, kube.Services, namespace, service, false); err != nil {
		return nil, err
	}
	made, err := kube.Get[corev1.Service](ctx, s.config.Client, kube.Services, namespace, service.Name)
	if err != nil {
		return nil, fmt.Errorf("look at Service %s: %w", service.Name, err)
	}
	return &NodePort{Port: made.Spec.Ports[0].NodePort, session: s, namespace: namespace, name: service.Name}, nil
}

// Delete gives the port back. Where it can't, the end of the session does.
func (n *NodePort) Delete(ctx context.Context) {
	_ = n.session.config.Client.Resource(kube.Services, n.namespace).Delete(ctx, n.name, metav1.DeleteOptions{})
}

// Policy makes a NetworkPolicy that lets only one port of the session's pods with the labels be reached.
func (s *Session) Policy(ctx context.Context, namespace string, selector map[string]string, port int32) error {
	open := intstr.FromInt32(port)
	tcp := corev1.ProtocolTCP
	ports := []networkingv1.NetworkPolicyPort{{Port: &open, Protocol: &tcp}}
	return s.LimitPods(ctx, namespace, networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: selector},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: ports}},
	})
}

// LimitPods creates a NetworkPolicy for pods of the session, which spec selects by labels of theirs.
func (s *Session) LimitPods(ctx context.Context, namespace string, spec networkingv1.NetworkPolicySpec) error {
	policy := &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: s.meta(namespace, s.name("policy")),
		Spec:       spec,
	}
	if err := s.config.Client.Create(ctx, kube.NetworkPolicies, namespace, policy, false); err != nil {
		return fmt.Errorf("make a NetworkPolicy in namespace %s: %w", namespace, err)
	}
	return nil
}
