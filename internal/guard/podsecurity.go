package guard

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

const enforceLabel = "pod-security.kubernetes.io/enforce"

// levels orders the pod security levels by what they admit.
var levels = map[string]int{"restricted": 0, "baseline": 1, "privileged": 2}

var violation = regexp.MustCompile(`violates PodSecurity "([a-z]+):`)

// podSecurity lets the API server admit a pod of the level in a dry run, where one may be tried.
func (g *guard) podSecurity(ctx context.Context, check hook.PodSecurityCheck) ([]finding.Finding, error) {
	if _, ok := levels[check.Level]; !ok {
		return nil, hook.Errorf(hook.Usage,
			"spec: podSecurity: level %q of namespace %s is none of restricted, baseline, privileged",
			check.Level, check.Namespace)
	}
	if check.LabelsOnly {
		return g.podSecurityLabels(ctx, check)
	}
	err := g.client.Create(ctx, kube.Pods, check.Namespace, probePod(check), true)
	switch {
	case err == nil:
		g.log.Info("namespace admits the pods", "namespace", check.Namespace, "level", check.Level)
		return nil, nil
	case kube.NoNamespace(err, check.Namespace):
		g.log.Info("pod security not checked: the namespace does not exist yet", "namespace", check.Namespace)
		return nil, nil
	case kube.MissingPermission(err) != "", kube.NoServiceAccount(err), kube.NoDryRun(err),
		// An administrator grants SecurityContextConstraints to the ServiceAccounts that the pods will have.
		check.Account != "" && kube.NoSecurityContextConstraint(err):
		g.log.Info("no pod can be tried in the namespace: its labels decide", "namespace", check.Namespace, "cause",
			kube.Brief(err))
		return g.podSecurityLabels(ctx, check)
	case violation.MatchString(err.Error()):
		enforced := violation.FindStringSubmatch(err.Error())[1]
		return needsLevel(check, enforced)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "quota"):
		return one(finding.Finding{
			ID: finding.AdmissionQuota, Object: "Namespace " + check.Namespace, Value: check.Value,
			Found: fmt.Sprintf("a quota in namespace %s refuses the platform's pods (%s)", check.Namespace, kube.Brief(err)),
			Fix:   "raise it, or add a LimitRange with default requests and limits for containers that state none",
		})
	case kube.Permanent(err):
		return one(finding.Finding{
			ID: finding.AdmissionPolicy, Object: "Namespace " + check.Namespace, Value: check.Value,
			Found: fmt.Sprintf("an admission policy of the cluster refuses pods of the level %q in namespace %s (%s): %s", check.Level, check.Namespace, check.Value, kube.Brief(err)),
			Fix:   "make an exception for the namespace there, since the platform can't do with less",
		})
	}
	return nil, fmt.Errorf("try a pod in namespace %s: %w", check.Namespace, err)
}

// podSecurityLabels reads what the namespace enforces. Without the label the cluster's default
// holds, which cannot be read and is "privileged" unless an administrator changed it.
func (g *guard) podSecurityLabels(ctx context.Context, check hook.PodSecurityCheck) ([]finding.Finding, error) {
	namespace, err := kube.Get[corev1.Namespace](ctx, g.client, kube.Namespaces, "", check.Namespace)
	if apierrors.IsNotFound(err) {
		g.log.Info("pod security not checked: the namespace does not exist yet", "namespace", check.Namespace)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read namespace %s: %w", check.Namespace, err)
	}
	enforced := namespace.Labels[enforceLabel]
	level, known := levels[enforced]
	if known && level < levels[check.Level] {
		return needsLevel(check, enforced)
	}
	g.log.Info("the namespace's labels do not forbid the pods", "namespace", check.Namespace, "level", check.Level, "enforced", enforced)
	return nil, nil
}

func needsLevel(check hook.PodSecurityCheck, enforced string) ([]finding.Finding, error) {
	return one(finding.Finding{
		ID: finding.AdmissionPodSecurity, Object: "Namespace " + check.Namespace, Value: check.Value,
		Found: fmt.Sprintf("namespace %s enforces the pod security level %q, and its pods need %q", check.Namespace, enforced, check.Level),
		Fix: fmt.Sprintf("run `kubectl label --overwrite namespace %s %s=%s`, or choose another namespace (%s)",
			check.Namespace, enforceLabel, check.Level, check.Value),
	})
}

// probePod is a pod that exactly the level and those above it admit.
func probePod(check hook.PodSecurityCheck) *corev1.Pod {
	container := corev1.Container{Name: "probe", Image: "registry.k8s.io/pause:3.10"}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "nap-guard-"},
		Spec:       corev1.PodSpec{ServiceAccountName: check.Account},
	}
	switch check.Level {
	case "privileged":
		// As a workspace's file system sidecars: no requests or limits either.
		yes := true
		container.SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		container.VolumeMounts = []corev1.VolumeMount{{Name: "fuse", MountPath: "/dev/fuse"}}
		pod.Spec.Volumes = []corev1.Volume{{
			Name:         "fuse",
			VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/fuse"}},
		}}
	case "baseline":
		container.Resources = smallResources()
	case "restricted":
		yes, no := true, false
		container.Resources = smallResources()
		container.SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no,
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			RunAsNonRoot:             &yes,
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
		if user := int64(65532); !check.NoUser {
			container.SecurityContext.RunAsUser = &user
		}
	}
	pod.Spec.Containers = []corev1.Container{container}
	return pod
}

// smallResources are what the hooks' own pods ask for: with less, a LimitRange could refuse the probe
// and admit the platform.
func smallResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}
