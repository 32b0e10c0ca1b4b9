package runner

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

const (
	afsFusePort    = 9101
	memoryFusePort = 9102
	// workspaceGroup is the group of the agent's user, who must be able to write to the volume.
	workspaceGroup = 1000
)

// Names of the pod's volumes.
const (
	volumeWorkspace   = "workspace"
	volumeAFS         = "afs"
	volumeMemory      = "memory"
	volumeAFSData     = "afs-data"
	volumeAFSConfig   = "afs-config"
	volumeMemoryCache = "memory-cache"
	volumeFuse        = "fuse"
)

func (r *runner) template(p placement) corev1.PodTemplateSpec {
	onRootMismatch := corev1.FSGroupChangeOnRootMismatch
	spec := corev1.PodSpec{
		EnableServiceLinks: new(r.contract.ServiceLinks),
		NodeSelector:       r.NodeSelector,
		SecurityContext:    &corev1.PodSecurityContext{FSGroup: new(int64(workspaceGroup)), FSGroupChangePolicy: &onRootMismatch},
		Containers:         []corev1.Container{r.agent(p), r.afsFuse(p), r.memoryFuse(p)},
		Volumes: []corev1.Volume{
			claimVolume(volumeWorkspace, workspace.ClaimName(p.ID)),
			emptyVolume(volumeAFS),
			emptyVolume(volumeMemory),
			claimVolume(volumeAFSData, r.AFSClaim),
			{Name: volumeAFSConfig, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: r.AFSConfig},
				Items:                []corev1.KeyToPath{{Key: platform.FuseConfigKey, Path: platform.FuseConfigKey}},
			}}},
			emptyVolume(volumeMemoryCache),
			{Name: volumeFuse, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/fuse"}}},
		},
	}
	if r.PullSecret != "" {
		spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: r.PullSecret}}
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: workspace.Labels(p.ID)}, Spec: spec}
}

func (r *runner) agent(p placement) corev1.Container {
	fromNode := corev1.MountPropagationHostToContainer
	return corev1.Container{
		Name:  "agent",
		Image: r.AgentImage(p.AgentType),
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: platform.WorkspacePort}},
		Env: append(r.identity(p),
			corev1.EnvVar{Name: "WORKSPACE_DIR", Value: "/workspace"},
			corev1.EnvVar{Name: "AFS_CONTROLLER", Value: r.AFSController},
			corev1.EnvVar{Name: "AFS_FUSE_SERVER", Value: r.AFSFuseServer},
		),
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		},
		StartupProbe:   health(5, 120, 1),
		LivenessProbe:  health(30, 6, 5),
		ReadinessProbe: health(10, 3, 1),
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeWorkspace, MountPath: "/workspace"},
			{Name: volumeAFS, MountPath: "/mnt/afs", MountPropagation: &fromNode},
			{Name: volumeMemory, MountPath: "/mnt/memory", MountPropagation: &fromNode},
		},
	}
}

func (r *runner) afsFuse(p placement) corev1.Container {
	both := corev1.MountPropagationBidirectional
	return corev1.Container{
		Name:    "afs-fuse",
		Image:   r.AFSImage,
		Command: []string{"afs-fuse", "/etc/afs/" + platform.FuseConfigKey},
		Ports:   []corev1.ContainerPort{{Name: "afs-fuse", ContainerPort: afsFusePort}},
		Env: append(r.identity(p),
			append(r.token("AFS_BOOTSTRAP_TOKEN", p),
				corev1.EnvVar{Name: "AFS_BOOTSTRAP_URL", Value: r.ControlPlaneURL + r.contract.Workspaces(p.ID) + "afs/mounts"})...,
		),
		SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeAFS, MountPath: "/mnt/afs", MountPropagation: &both},
			{Name: volumeAFSData, MountPath: "/data/afs"},
			{Name: volumeAFSConfig, MountPath: "/etc/afs"},
			{Name: volumeFuse, MountPath: "/dev/fuse"},
		},
	}
}

func (r *runner) memoryFuse(p placement) corev1.Container {
	both := corev1.MountPropagationBidirectional
	return corev1.Container{
		Name:            "memory-fuse",
		Image:           r.MemoryImage,
		Ports:           []corev1.ContainerPort{{Name: "memory-fuse", ContainerPort: memoryFusePort}},
		Env:             append(r.identity(p), corev1.EnvVar{Name: "GRPC_LISTEN_ADDR", Value: fmt.Sprintf(":%d", memoryFusePort)}),
		SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeMemory, MountPath: "/mnt/memory", MountPropagation: &both},
			{Name: volumeMemoryCache, MountPath: "/var/cache/memory-fuse"},
			{Name: volumeFuse, MountPath: "/dev/fuse"},
		},
	}
}

// identity is what each container of a workspace proves itself to the control plane with.
func (r *runner) identity(p placement) []corev1.EnvVar {
	return append([]corev1.EnvVar{
		{Name: "WORKSPACE_ID", Value: p.ID},
		{Name: "CP_URL", Value: r.ControlPlaneURL},
	}, r.token(workspace.TokenKey, p)...)
}

// token is the workspace's token under a name, where the contract knows one.
func (r *runner) token(name string, p placement) []corev1.EnvVar {
	if !r.contract.Tokens {
		return nil
	}
	return []corev1.EnvVar{{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: workspace.TokenName(p.ID)},
		Key:                  workspace.TokenKey,
		Optional:             new(true),
	}}}}
}

func health(period, failures, timeout int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/health", Port: intstr.FromInt32(platform.WorkspacePort)}},
		PeriodSeconds:    period,
		FailureThreshold: failures,
		TimeoutSeconds:   timeout,
	}
}

func claimVolume(name, claim string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}
}

func emptyVolume(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}
