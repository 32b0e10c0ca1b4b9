package prepare

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secret"
)

// secretsAnnotation, on the pods of a service, says which values of its Secrets they have started with.
const secretsAnnotation = "neutree.ai/secrets"

// restartUsers restarts the services that read a Secret whose value has changed since they started: they read it then
// and never again. No other service is touched. It comes last, when the database that they will find is up to date.
func (p *Prepare) restartUsers(ctx context.Context) (string, error) {
	if len(p.Spec.Restart) == 0 {
		return "", nil
	}
	changes, err := secret.Compare(ctx, p.Log, p.Client.Resource(kube.Secrets, p.Spec.Namespace), p.Spec.Secrets,
		p.Spec.Migrate.URL.Secret)
	if err != nil {
		return "", err
	}
	var restarted []string
	if changes.Any() {
		if restarted, err = p.restart(ctx, changes); err != nil {
			return "", err
		}
	}
	if err := changes.Remember(ctx); err != nil || len(restarted) == 0 {
		return "", err
	}
	return "restarted after a change of their Secrets: " + strings.Join(restarted, ", "), nil
}

// restart restarts the services that read what has changed, and returns their names.
func (p *Prepare) restart(ctx context.Context, changes *secret.Changes) ([]string, error) {
	var restarted []string
	for _, name := range p.Spec.Restart {
		live, err := p.deployment(ctx, name)
		if err != nil {
			return nil, err
		}
		if live == nil {
			continue
		}
		var changed []hook.SecretRef
		for _, ref := range reads(live.Spec.Template.Spec) {
			changed = append(changed, changes.Of(ref)...)
		}
		if len(changed) == 0 {
			continue
		}
		changed = sorted(changed)
		restarted = append(restarted, name)
		version := changes.Version(changed)
		if live.Spec.Template.Annotations[secretsAnnotation] == version {
			// An attempt that was killed before it remembered this has restarted it.
			continue
		}
		p.Log.Info("a Secret has changed: the service is restarted", "deployment", name, "keys", describe(changed))
		err = p.Client.Merge(ctx, kube.Deployments, p.Spec.Namespace, name, map[string]any{
			"spec": map[string]any{"template": map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{secretsAnnotation: version}},
			}},
		})
		if err != nil {
			return nil, kube.Refused(err, "restart Deployment %s in namespace %s, since a Secret has changed",
				name, p.Spec.Namespace)
		}
	}
	return restarted, nil
}

// deployment reads a service that runs now, nil where there is none.
func (p *Prepare) deployment(ctx context.Context, name string) (*appsv1.Deployment, error) {
	live, err := kube.Get[appsv1.Deployment](ctx, p.Client, kube.Deployments, p.Spec.Namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Deployment %s in namespace %s: %w", name, p.Spec.Namespace, err)
	}
	return live, nil
}

// reads are the keys of Secrets that the containers of a pod have read, with an empty key for all of a Secret. What has
// run to its end before them, as init containers do, reads the new value when the pod is next replaced.
func reads(pod corev1.PodSpec) []hook.SecretRef {
	var refs []hook.SecretRef
	containers := slices.Clone(pod.Containers)
	for _, c := range pod.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, env := range c.Env {
			if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil {
				refs = append(refs, hook.SecretRef{Secret: from.SecretKeyRef.Name, Key: from.SecretKeyRef.Key})
			}
		}
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				refs = append(refs, hook.SecretRef{Secret: from.SecretRef.Name})
			}
		}
	}
	volume := func(name string, items []corev1.KeyToPath) {
		if len(items) == 0 {
			refs = append(refs, hook.SecretRef{Secret: name})
		}
		for _, item := range items {
			refs = append(refs, hook.SecretRef{Secret: name, Key: item.Key})
		}
	}
	for _, v := range pod.Volumes {
		switch {
		case v.Secret != nil:
			volume(v.Secret.SecretName, v.Secret.Items)
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				if source.Secret != nil {
					volume(source.Secret.Name, source.Secret.Items)
				}
			}
		}
	}
	return refs
}

func sorted(refs []hook.SecretRef) []hook.SecretRef {
	slices.SortFunc(refs, func(a, b hook.SecretRef) int { return strings.Compare(a.Secret+"/"+a.Key, b.Secret+"/"+b.Key) })
	return slices.Compact(refs)
}

func describe(refs []hook.SecretRef) string {
	var names []string
	for _, ref := range refs {
		names = append(names, ref.Secret+"/"+ref.Key)
	}
	return strings.Join(names, ", ")
}
