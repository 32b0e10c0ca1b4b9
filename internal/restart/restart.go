// Package restart restarts the services that read a value of a Secret which has changed since they started: they read
// it then and never again. No other service is touched.
package restart

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secret"
)

// Annotation, on the pods of a service, says which values of its Secrets they have started with.
const Annotation = "neutree.ai/secrets"

// Restarter works on the Deployments of one namespace.
type Restarter struct {
	Log       *slog.Logger
	Client    *kube.Client
	Namespace string
}

// Reader is a service that reads values which have changed.
type Reader struct {
	Name string
	// Changed are those values, in order.
	Changed []hook.SecretRef
	// version is what Annotation has to say, and is what it says now.
	version, is string
}

// Readers are those of the Deployments called names that read what has changed. Names without a Deployment are left
// out.
func (r *Restarter) Readers(ctx context.Context, names []string, changes *secret.Changes) ([]Reader, error) {
	var readers []Reader
	if !changes.Any() {
		return nil, nil
	}
	for _, name := range names {
		live, err := Deployment(ctx, r.Client, r.Namespace, name)
		if err != nil {
			return nil, err
		}
		if live == nil {
			continue
		}
		var changed []hook.SecretRef
		for _, ref := range Reads(live.Spec.Template.Spec) {
			changed = append(changed, changes.Of(ref)...)
		}
		if len(changed) == 0 {
			continue
		}
		changed = sorted(changed)
		readers = append(readers, Reader{Name: name, Changed: changed, version: changes.Version(changed),
			is: live.Spec.Template.Annotations[Annotation]})
	}
	return readers, nil
}

// Restart replaces the pods of the readers, and does not wait for the new ones. What an attempt that was killed has
// restarted already is left alone.
func (r *Restarter) Restart(ctx context.Context, readers []Reader) error {
	for _, reader := range readers {
		if reader.is == reader.version {
			continue
		}
		r.Log.Info("a Secret has changed: the service is restarted", "deployment", reader.Name,
			"keys", Describe(reader.Changed))
		err := r.Client.Merge(ctx, kube.Deployments, r.Namespace, reader.Name, map[string]any{
			"spec": map[string]any{"template": map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{Annotation: reader.version}},
			}},
		})
		if err != nil {
			return kube.Refused(err, "restart Deployment %s in namespace %s, since a Secret has changed",
				reader.Name, r.Namespace)
		}
	}
	return nil
}

// Names are those of the readers.
func Names(readers []Reader) []string {
	var names []string
	for _, reader := range readers {
		names = append(names, reader.Name)
	}
	return names
}

// Deployment reads a service that runs now, nil where there is none.
func Deployment(ctx context.Context, client *kube.Client, namespace, name string) (*appsv1.Deployment, error) {
	live, err := kube.Get[appsv1.Deployment](ctx, client, kube.Deployments, namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Deployment %s in namespace %s: %w", name, namespace, err)
	}
	return live, nil
}

// Reads are the keys of Secrets that the containers of a pod have read, with an empty key for all of a Secret. What has
// run to its end before them, as init containers do, reads the new value when the pod is next replaced.
func Reads(pod corev1.PodSpec) []hook.SecretRef {
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
	slices.SortFunc(refs, hook.CompareRefs)
	return slices.Compact(refs)
}

// Describe lists keys of Secrets for a person.
func Describe(refs []hook.SecretRef) string {
	var names []string
	for _, ref := range refs {
		names = append(names, ref.String())
	}
	return strings.Join(names, ", ")
}
