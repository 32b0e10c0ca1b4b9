package runner

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

func (r *runner) meta(name string, p placement) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: r.Namespace, Labels: workspace.Labels(p.ID)}
}

// workloadMeta carries what the control plane compares to find workspaces that are out of date.
func (r *runner) workloadMeta(p placement) metav1.ObjectMeta {
	meta := r.meta(workspace.Name(p.ID), p)
	meta.Annotations = map[string]string{
		workspace.VersionAnnotation: r.contract.Template,
		workspace.ImageAnnotation:   r.AgentImage(p.AgentType),
	}
	return meta
}

func (r *runner) claim(p placement) (*corev1.PersistentVolumeClaim, error) {
	size, err := resource.ParseQuantity(cmp.Or(p.StorageSize, r.StorageSize))
	if err != nil {
		return nil, fmt.Errorf("size of the workspace's volume: %w", err)
	}
	mode := corev1.ReadWriteOnce
	if p.AutoScaling {
		mode = corev1.ReadWriteMany
	}
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: r.meta(workspace.ClaimName(p.ID), p),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{mode},
			StorageClassName: &r.StorageClass,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		},
	}, nil
}

func (r *runner) services(p placement) []*corev1.Service {
	spec := corev1.ServiceSpec{
		Selector: workspace.Labels(p.ID),
		Ports: []corev1.ServicePort{
			{Name: "http", Port: platform.WorkspacePort},
			{Name: "afs-fuse", Port: afsFusePort},
			{Name: "memory-fuse", Port: memoryFusePort},
		},
	}
	services := []*corev1.Service{{ObjectMeta: r.meta(workspace.Name(p.ID), p), Spec: spec}}
	if p.AutoScaling {
		headless := spec
		headless.ClusterIP = corev1.ClusterIPNone
		services = append(services, &corev1.Service{ObjectMeta: r.meta(workspace.HeadlessName(p.ID), p), Spec: headless})
	}
	return services
}

func (r *runner) deployment(p placement) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: r.workloadMeta(p),
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Selector: &metav1.LabelSelector{MatchLabels: workspace.Labels(p.ID)},
			Template: r.template(p),
		},
	}
}

// statefulSet is a workspace that may have several replicas. They share the one volume.
func (r *runner) statefulSet(p placement) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: r.workloadMeta(p),
		Spec: appsv1.StatefulSetSpec{
			Replicas:            new(int32(1)),
			ServiceName:         workspace.HeadlessName(p.ID),
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:            &metav1.LabelSelector{MatchLabels: workspace.Labels(p.ID)},
			Template:            r.template(p),
		},
	}
}
