package rotate

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restart"
	"github.com/neutree-ai/packaging/internal/secret"
)

// keysAt is where the Job finds the keyring.
const keysAt = "/keys"

// runJob has the Job of the plan change the database, and returns what it says. version is another one for other
// values: the Job of a client that was killed is awaited if it works with the same.
func (r *Rotation) runJob(ctx context.Context, version string, complete func(*corev1.PodSpec)) (string, error) {
	job := r.Plan.Job.DeepCopy()
	metav1.SetMetaDataAnnotation(&job.Spec.Template.ObjectMeta, restart.Annotation, version)
	pod := &job.Spec.Template.Spec
	pod.Containers[0].Args = append(pod.Containers[0].Args, r.Name)
	complete(pod)
	jobs := r.Jobs
	if jobs == nil {
		jobs = &jobrun.Runner{Log: r.Log, Client: r.Client, Namespace: r.Namespace}
	}
	return jobs.Run(ctx, job)
}

// adminEnv gives the Job the name and the password of the first administrator.
func (r *Rotation) adminEnv(s *state) func(*corev1.PodSpec) {
	return func(pod *corev1.PodSpec) {
		// In a fixed order: a Job with the same manifest is awaited, and another one replaced.
		for _, one := range []struct{ name, key string }{
			{"ADMIN_USERNAME", "username"}, {"ADMIN_PASSWORD", s.keys[0].Key},
		} {
			from := &corev1.SecretKeySelector{Key: one.key}
			from.Name = s.secret.Name
			pod.Containers[0].Env = append(pod.Containers[0].Env,
				corev1.EnvVar{Name: one.name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: from}})
		}
	}
}

// keyringVolume gives the Job the keys, as files: an argument or a variable of a program is easier to read for others.
// The mark has it notice a node that mounts what the Secret was before.
func (r *rekeying) keyringVolume(pod *corev1.PodSpec) {
	var volume corev1.Volume
	volume.Name, volume.Secret = "keys", &corev1.SecretVolumeSource{SecretName: r.Plan.Keyring}
	pod.Volumes = append(pod.Volumes, volume)
	main := &pod.Containers[0]
	main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: "keys", MountPath: keysAt, ReadOnly: true})
	main.Args = append(main.Args, "--keys="+keysAt, "--keyring="+r.ring.Mark())
}

// certain says whether the end of the Job says that no credential has another key than before.
func certain(err error) bool {
	var notStarted *jobrun.NotStarted
	if errors.As(err, &notStarted) {
		return !notStarted.Ran
	}
	switch hook.CodeOf(err) {
	case hook.Unchanged, hook.Refused, hook.Busy, hook.Usage:
		return true
	}
	return false
}

// keyring opens the keyring.
func (r *Rotation) keyring(ctx context.Context) (*secret.Keyring, error) {
	return secret.OpenKeyring(ctx, r.Log, r.secrets(), r.Namespace, r.Plan.Keyring, r.Plan.Labels())
}

func (r *Rotation) secrets() kube.Objects { return r.Client.Resource(kube.Secrets, r.Namespace) }
