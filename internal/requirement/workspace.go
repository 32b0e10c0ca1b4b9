package requirement

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/chart"

	"github.com/neutree-ai/packaging/internal/platform"
)

const (
	// workspaceUser is the agent's user and the group of its volume.
	workspaceUser = 1000
	workspaceName = platform.WorkspacePrefix + "<id>"
)

// workspaces adds what the runner makes for each workspace, from the settings that the chart gives it. One stands for
// all: an installation that has no room for one is of no use.
func (d *derivation) workspaces(*chart.Rendered) error {
	env := d.env("env-runner-k8s")
	if env["AGENT_IMAGE_PREFIX"] == "" {
		return nil
	}
	w := &d.set.Workspace
	w.ControlPlaneURL, w.AFSAddress = env["CP_SERVICE_URL"], env["AFS_CONTROLLER_ADDR"]
	w.MultiReplica = env["WORKSPACE_MULTI_REPLICA"] == "true"
	w.NodeSelector = map[string]string{}
	for term := range strings.SplitSeq(env["AGENT_NODE_SELECTOR"], ",") {
		if key, value, found := strings.Cut(term, "="); found {
			w.NodeSelector[key] = value
		}
	}
	if secret := env["IMAGE_PULL_SECRET"]; secret != "" {
		w.PullSecrets = []string{secret}
	}
	size, err := resource.ParseQuantity(env["WORKSPACE_STORAGE_SIZE"])
	if err != nil {
		return fmt.Errorf("global.workspaces.storageSize %q: %w", env["WORKSPACE_STORAGE_SIZE"], err)
	}
	mode := corev1.ReadWriteOnce
	if w.MultiReplica {
		mode = corev1.ReadWriteMany
	}
	user := int64(workspaceUser)
	d.set.Claims = append(d.set.Claims, Claim{
		Name: workspaceName + "-workspace", Namespace: d.set.Workspaces, Class: env["AGENT_STORAGE_CLASS"], AccessMode: mode, Size: size,
		Count: 1, Grows: true, User: &user, Group: &user, By: Runner, Why: "the volume of each workspace", Value: "global.workspaces.storageClass",
	})
	d.set.Pods = append(d.set.Pods, Pod{
		Owner: "workspace", Namespace: d.set.Workspaces, Replicas: 1, By: Runner, Why: "a workspace",
		Labels: map[string]string{"app": platform.WorkspaceApp, "component": "workspace"},
		Spec:   workspacePod(env, w), Value: "global.workspaces.nodeSelector",
	})
	for _, agent := range platform.AgentTypes[1:] {
		d.set.Images = append(d.set.Images, Image{
			Ref: agentImage(env, agent), Namespace: d.set.Workspaces, PullSecrets: w.PullSecrets, Runtime: true,
			Owners: []string{"workspace"}, Why: "agents of type " + agent, NodeSelector: w.NodeSelector,
		})
	}
	if browsers := d.env("browser")["BROWSER_IMAGE"]; browsers != "" {
		d.set.Images = append(d.set.Images, Image{Ref: browsers, Runtime: true, Owners: []string{"OpenSandbox"},
			Why: "browsers; OpenSandbox pulls it, in its own namespace and with its own pull secrets"})
	}
	for _, made := range []struct{ api, kind, suffix string }{
		{"v1", "PersistentVolumeClaim", "-workspace"}, {"v1", "Service", ""}, {"v1", "Secret", "-token"}, {"apps/v1", "Deployment", ""},
	} {
		object := Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{}}, Source: "a workspace", By: Runner}
		object.SetAPIVersion(made.api)
		object.SetKind(made.kind)
		object.SetNamespace(d.set.Workspaces)
		object.SetName(workspaceName + made.suffix)
		d.set.Objects = append(d.set.Objects, object)
	}
	return nil
}

func agentImage(env map[string]string, agent string) string {
	return fmt.Sprintf("%s-%s:%s", env["AGENT_IMAGE_PREFIX"], agent, env["AGENT_IMAGE_TAG"])
}

// workspacePod is the pod of a workspace as the runner makes it, as far as a cluster can object to it.
func workspacePod(env map[string]string, w *Workspace) corev1.PodSpec {
	yes, group := true, int64(workspaceUser)
	both, fromNode := corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer
	spec := corev1.PodSpec{
		NodeSelector:    w.NodeSelector,
		SecurityContext: &corev1.PodSecurityContext{FSGroup: &group},
		Containers: []corev1.Container{
			{
				Name: "agent", Image: agentImage(env, platform.AgentTypes[0]),
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
				},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "workspace", MountPath: "/workspace"},
					{Name: "afs", MountPath: "/mnt/afs", MountPropagation: &fromNode},
					{Name: "memory", MountPath: "/mnt/memory", MountPropagation: &fromNode},
				},
			},
			{
				Name: "afs-fuse", Image: env["AFS_IMAGE"], SecurityContext: &corev1.SecurityContext{Privileged: &yes},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "afs", MountPath: "/mnt/afs", MountPropagation: &both},
					{Name: "shared", MountPath: "/data/afs"},
					{Name: "config", MountPath: "/etc/afs"},
					{Name: "fuse", MountPath: "/dev/fuse"},
				},
			},
			{
				Name: "memory-fuse", Image: env["MEMORY_FUSE_IMAGE"], SecurityContext: &corev1.SecurityContext{Privileged: &yes},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "memory", MountPath: "/mnt/memory", MountPropagation: &both},
					{Name: "cache", MountPath: "/var/cache/memory-fuse"},
					{Name: "fuse", MountPath: "/dev/fuse"},
				},
			},
		},
		Volumes: []corev1.Volume{
			{Name: "workspace", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: workspaceName + "-workspace"}}},
			{Name: "shared", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: env["AFS_STORAGE_PVC"]}}},
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: env["AFS_CONFIGMAP"]}}}},
			{Name: "fuse", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/fuse"}}},
		},
	}
	for _, name := range []string{"afs", "memory", "cache"} {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
	spec.ImagePullSecrets = localReferences(w.PullSecrets)
	return spec
}

func localReferences(names []string) []corev1.LocalObjectReference {
	var references []corev1.LocalObjectReference
	for _, name := range names {
		references = append(references, corev1.LocalObjectReference{Name: name})
	}
	return references
}

func namesOf(references []corev1.LocalObjectReference) []string {
	var names []string
	for _, reference := range references {
		names = append(names, reference.Name)
	}
	slices.Sort(names)
	return names
}
