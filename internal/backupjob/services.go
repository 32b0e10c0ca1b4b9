package backupjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// replicas is how many pods each service that uses the databases is meant to have.
func (r *Restore) replicas(ctx context.Context) (map[string]int32, error) {
	replicas := map[string]int32{}
	for _, name := range r.Plan.Writers {
		deployment, err := kube.Get[appsv1.Deployment](ctx, r.Client, kube.Deployments, r.Namespace, name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for Deployment %s in namespace %s: %s", name, r.Namespace, kube.Brief(err))
		}
		replicas[name] = 1
		if deployment.Spec.Replicas != nil {
			replicas[name] = *deployment.Spec.Replicas
		}
	}
	return replicas, nil
}

// stopServices returns when no pod of the services is left, and notes the Deployments as they are then.
func (r *Restore) stopServices(ctx context.Context, l *restorenote.Lock) error {
	names := slices.Sorted(maps.Keys(l.Get().Replicas))
	r.Log.Info("stopping the services", "deployments", describe(names))
	owners := maps.Clone(l.Get().Owners)
	if now := r.owners(ctx, names); owners == nil {
		owners = now
	} else {
		maps.Copy(owners, now)
	}
	if err := l.Change(ctx, func(n *restorenote.Note) { n.Owners = owners }); err != nil {
		return err
	}
	if err := r.standStill(ctx, names); err != nil {
		return err
	}
	stopped := map[string]restorenote.Deployment{}
	for _, name := range names {
		deployment, err := r.deployment(ctx, name)
		if err != nil {
			return err
		}
		if deployment != nil {
			stopped[name] = restorenote.Deployment{UID: string(deployment.UID), Generation: deployment.Generation}
		}
	}
	if err := r.started(ctx, names); err != nil {
		return err
	}
	return l.Change(ctx, func(n *restorenote.Note) { n.Stopped = stopped })
}

// standStill scales Deployments to 0 and returns when none of their pods is left.
func (r *Restore) standStill(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := r.scale(ctx, name, 0); err != nil {
			return err
		}
	}
	return hook.Poll(ctx, r.Log, "the services to stop", func(ctx context.Context) (bool, string, error) {
		var left []string
		for _, name := range names {
			pods, err := r.Client.ListMetadata(ctx, kube.Pods, r.Namespace, metav1.ListOptions{
				LabelSelector: "app=" + name,
				// A pod that was evicted stays as a record.
				FieldSelector: "status.phase!=Failed,status.phase!=Succeeded",
			})
			if err != nil {
				return false, kube.Brief(err), nil
			}
			for _, pod := range pods {
				left = append(left, pod.Name)
			}
		}
		if len(left) > 0 {
			// They will not go if something else has started them again.
			if err := r.started(ctx, names); err != nil {
				return false, "", err
			}
		}
		return len(left) == 0, "there is still " + describe(left), nil
	})
}

// deployment reads a Deployment, nil where there is none.
func (r *Restore) deployment(ctx context.Context, name string) (*appsv1.Deployment, error) {
	deployment, err := kube.Get[appsv1.Deployment](ctx, r.Client, kube.Deployments, r.Namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Deployment %s in namespace %s: %s", name, r.Namespace, kube.Brief(err))
	}
	return deployment, nil
}

// startedError is a service that something else has started while it had to stand still.
type startedError struct{ list finding.List }

func (e *startedError) Error() string { return e.list.Error() }

func (e *startedError) Unwrap() error { return e.list }

// started is an error when one of the services is meant to run. A GitOps tool that heals itself does that.
func (r *Restore) started(ctx context.Context, names []string) error {
	for _, name := range names {
		deployment, err := r.deployment(ctx, name)
		if err != nil {
			return err
		}
		if deployment == nil || deployment.Spec.Replicas != nil && *deployment.Spec.Replicas == 0 {
			continue
		}
		by := "something else"
		if _, owner := replicasOwner(deployment.ManagedFields); owner.Manager != "" && owner.Manager != kube.FieldManager {
			by = owner.Manager
		}
		return &hook.Error{Code: hook.Refused, Err: &startedError{list: finding.List{{
			ID: finding.BackupServices, Severity: finding.Error,
			Object: fmt.Sprintf("Deployment %s in namespace %s", name, r.Namespace),
			Found: fmt.Sprintf("%s has scaled Deployment %s from 0 to %d while it had to stay stopped", by, name,
				ptr.Deref(deployment.Spec.Replicas, 1)),
			Why: "what a service writes meanwhile does not fit to what the database has afterwards",
			Fix: "suspend the tool that does so (docs/gitops.md says how for ArgoCD and Flux), then run the same command again",
		}}}}
	}
	return nil
}

// ranSince says which service may have run since an unfinished restore stopped them all, "" if none did. Kubernetes
// counts the changes of what a Deployment asks for, so one that was started and stopped again shows as well.
func (r *Restore) ranSince(ctx context.Context, left *restorenote.Note) (string, error) {
	if len(left.Stopped) == 0 {
		return "it had not stopped the services yet, or is of version 0.1.0", nil
	}
	for _, name := range r.Plan.Writers {
		deployment, err := r.deployment(ctx, name)
		if err != nil {
			return "", err
		}
		if deployment == nil {
			continue
		}
		was, known := left.Stopped[name]
		if !known || was.UID != string(deployment.UID) || was.Generation != deployment.Generation ||
			ptr.Deref(deployment.Spec.Replicas, 1) != 0 {
			return "Deployment " + name + " was changed since, so it may have run", nil
		}
	}
	return "", nil
}

// runWatched runs the Job that restores, and ends when a service is started meanwhile.
func (r *Restore) runWatched(ctx context.Context, stopped map[string]restorenote.Deployment) (string, error) {
	names := slices.Sorted(maps.Keys(stopped))
	watching, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(cmp.Or(r.Watch, 2*time.Second))
		defer ticker.Stop()
		for {
			select {
			case <-watching.Done():
				return
			case <-ticker.C:
			}
			// Another error passes, or the last look meets it.
			var started *startedError
			if errors.As(r.started(watching, names), &started) {
				cancel(started)
			}
		}
	}()
	message, err := r.run(watching, r.restoreJob(), r.Plan.Restore.Name, r.restoreArgs("restore", r.Name, r.AllowNewer)...)
	var started *startedError
	interfered := errors.As(context.Cause(watching), &started)
	cancel(nil)
	<-done
	switch {
	case interfered:
		return "", started
	case err != nil:
		return "", err
	}
	return message, r.started(ctx, names)
}

// restoreJob is the plan's with the note at hand.
func (r *Restore) restoreJob() batchv1.Job {
	const at = "/restore"
	job := r.Plan.Restore.DeepCopy()
	pod := &job.Spec.Template.Spec
	var volume corev1.Volume
	volume.Name, volume.ConfigMap = "restore", &corev1.ConfigMapVolumeSource{}
	volume.ConfigMap.Name = r.noteName()
	pod.Volumes = append(pod.Volumes, volume)
	main := &pod.Containers[0]
	main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: "restore", MountPath: at, ReadOnly: true})
	main.Env = append(main.Env, corev1.EnvVar{Name: restorenote.Env, Value: at})
	return *job
}

func (r *Restore) startServices(ctx context.Context, services restorenote.Services) error {
	for _, name := range slices.Sorted(maps.Keys(services.Replicas)) {
		if err := r.scale(ctx, name, services.Replicas[name]); err != nil {
			return err
		}
		if owner, is := services.Owners[name]; is {
			r.giveBack(ctx, name, owner)
		}
	}
	return nil
}

func (r *Restore) scale(ctx context.Context, name string, replicas int32) error {
	err := r.Client.Merge(ctx, kube.Deployments, r.Namespace, name, map[string]any{"spec": map[string]any{"replicas": replicas}}, "scale")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("scale Deployment %s in namespace %s to %d: %s", name, r.Namespace, replicas, kube.Brief(err))
	}
	return nil
}

// waitReady returns when all services have the pods that they had.
func (r *Restore) waitReady(ctx context.Context, replicas map[string]int32) error {
	return hook.Poll(ctx, r.Log, "the services to be ready", func(ctx context.Context) (bool, string, error) {
		var missing []string
		for _, name := range slices.Sorted(maps.Keys(replicas)) {
			deployment, err := kube.Get[appsv1.Deployment](ctx, r.Client, kube.Deployments, r.Namespace, name)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return false, kube.Brief(err), nil
			}
			if s := deployment.Status; s.ObservedGeneration < deployment.Generation || s.AvailableReplicas < replicas[name] {
				missing = append(missing, fmt.Sprintf("%s has %d of %d", name, s.AvailableReplicas, replicas[name]))
			}
		}
		return len(missing) == 0, describe(missing), nil
	})
}

// stopJob deletes a Job and waits until none of its pods is left.
func (r *Restore) stopJob(ctx context.Context, name string) error {
	foreground := metav1.DeletePropagationForeground
	err := r.Client.Resource(kube.Jobs, r.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete Job %s in namespace %s: %s", name, r.Namespace, kube.Brief(err))
	}
	return hook.Poll(ctx, r.Log, "Job "+name+" to end", func(ctx context.Context) (bool, string, error) {
		_, err := r.Client.Resource(kube.Jobs, r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "its pod is still there", nil
	})
}
