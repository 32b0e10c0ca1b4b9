package probe

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// User is who unprivileged probes run as: the user of the platform's services.
const User = 1000

// life is how long a pod lives if nobody removes it.
const life = 10 * time.Minute

// Pod is one pod to run.
type Pod struct {
	// Purpose becomes a part of its name.
	Purpose string
	// Namespace comes from Session.Namespace.
	Namespace string
	// Node it must run on; empty for any that the scheduler likes.
	Node string
	// Containers that run tasks, by name. Each reports for itself.
	Containers []Container
	// Images are pulled, and nothing of them has to run (see Session.Pull).
	Images []Image

	// PullSecrets beside those of the session.
	PullSecrets  []string
	NodeSelector map[string]string
	Tolerations  []corev1.Toleration
	Affinity     *corev1.Affinity
	HostNetwork  bool
	Volumes      []corev1.Volume
	// Labels beside the session's.
	Labels map[string]string
	// Limit bounds how long it may run once it has started; a minute if 0.
	Limit time.Duration
}

// Image is one to pull.
type Image struct {
	Ref    string
	Policy corev1.PullPolicy
}

// Container runs tasks.
type Container struct {
	Name  string
	Tasks []agent.Task
	// Privileged containers run as root; all others as User, as the level "restricted" asks.
	Privileged bool
	// User instead of User; for volumes that another one is to use.
	User   int64
	Env    []corev1.EnvVar
	Mounts []corev1.VolumeMount
}

// build makes the pod.
func (s *Session) build(p Pod) (*corev1.Pod, error) {
	meta := s.meta(p.Namespace, s.name(p.Purpose))
	account, _ := s.account(p.Namespace)
	// A proxy of a service mesh would keep the pod from ending.
	meta.Labels["sidecar.istio.io/inject"] = "false"
	meta.Annotations = map[string]string{"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}
	for name, value := range p.Labels {
		meta.Labels[name] = value
	}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: meta,
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			ActiveDeadlineSeconds:         ptr.To(int64(life.Seconds())),
			ServiceAccountName:            account,
			AutomountServiceAccountToken:  ptr.To(false),
			EnableServiceLinks:            ptr.To(false),
			HostNetwork:                   p.HostNetwork,
			NodeSelector:                  p.NodeSelector,
			Tolerations:                   p.Tolerations,
			Affinity:                      affinity(p.Affinity, p.Node),
			Volumes:                       p.Volumes,
			SecurityContext: &corev1.PodSecurityContext{
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}
	if len(p.Volumes) > 0 && !anyPrivileged(p.Containers) {
		group := int64(User)
		for _, c := range p.Containers {
			if c.User != 0 {
				group = c.User
			}
		}
		pod.Spec.SecurityContext.FSGroup = &group
		pod.Spec.SecurityContext.FSGroupChangePolicy = ptr.To(corev1.FSGroupChangeOnRootMismatch)
	}
	secrets := p.PullSecrets
	if len(p.Containers) > 0 {
		secrets = append(slices.Clone(s.config.PullSecrets), secrets...)
	}
	for _, secret := range secrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
	}
	limit := p.Limit
	if limit <= 0 {
		limit = time.Minute
	}
	for _, c := range p.Containers {
		tasks, err := json.Marshal(c.Tasks)
		if err != nil {
			return nil, fmt.Errorf("write the tasks of %s: %w", c.Name, err)
		}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name:            c.Name,
			Image:           s.config.Image,
			ImagePullPolicy: s.config.PullPolicy,
			Args:            []string{"probe", "--timeout", limit.String(), "--tasks", string(tasks)},
			Env:             c.Env,
			VolumeMounts:    c.Mounts,
			Resources:       resources("5m", "16Mi", "128Mi"),
			SecurityContext: securityContext(c),
		})
	}
	for i, image := range p.Images {
		container := corev1.Container{
			Name:            imageName(i),
			Image:           image.Ref,
			ImagePullPolicy: image.Policy,
			// Nothing of it ever runs: after the pull the kubelet finds that this variable can't be had.
			Env: []corev1.EnvVar{{Name: "PREFLIGHT", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: s.ownerName()}, Key: "none",
			}}}},
			Resources:       resources("1m", "4Mi", "16Mi"),
			SecurityContext: securityContext(Container{}),
		}
		pod.Spec.Containers = append(pod.Spec.Containers, container)
	}
	return pod, nil
}

func imageName(i int) string { return fmt.Sprintf("image%d", i) }

func resources(cpu, memory, most string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse(most)},
	}
}

func anyPrivileged(containers []Container) bool {
	for _, c := range containers {
		if c.Privileged {
			return true
		}
	}
	return false
}

func securityContext(c Container) *corev1.SecurityContext {
	if c.Privileged {
		return &corev1.SecurityContext{Privileged: ptr.To(true), RunAsUser: ptr.To[int64](0), ReadOnlyRootFilesystem: ptr.To(true)}
	}
	user := c.User
	if user == 0 {
		user = User
	}
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		ReadOnlyRootFilesystem:   ptr.To(true),
		RunAsNonRoot:             ptr.To(true),
		RunAsUser:                &user,
		RunAsGroup:               &user,
	}
}

// affinity adds to base that the pod runs on node. A nodeName would pass the scheduler by, and with it
// all that volumes need of it.
func affinity(base *corev1.Affinity, node string) *corev1.Affinity {
	if node == "" {
		return base
	}
	out := &corev1.Affinity{}
	if base != nil {
		out = base.DeepCopy()
	}
	out.PodAffinity, out.PodAntiAffinity = nil, nil
	here := corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
	if out.NodeAffinity == nil {
		out.NodeAffinity = &corev1.NodeAffinity{}
	}
	required := out.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		required = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}
	}
	for i := range required.NodeSelectorTerms {
		required.NodeSelectorTerms[i].MatchFields = append(required.NodeSelectorTerms[i].MatchFields, here)
	}
	out.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = required
	return out
}
