package teardown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/workspaces"
)

// Delete removes the data of a release whose objects are gone.
type Delete struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.DeleteSpec

	// ownsWorkspaces says that no one else has made the namespace of the workspaces.
	ownsWorkspaces bool
	deleted        []target
	errs           []error
}

// target is an object to delete.
type target struct {
	kind      string
	resource  schema.GroupVersionResource
	namespace string
	name      string
}

func (t target) String() string {
	if t.namespace == "" {
		return t.kind + " " + t.name
	}
	return fmt.Sprintf("%s %s/%s", t.kind, t.namespace, t.name)
}

// Run deletes the data, waits until it is gone, and returns what was deleted and what stays. An error
// names what could not be deleted; another run goes on from there.
func (d *Delete) Run(ctx context.Context) (string, error) {
	revision, uninstalling, err := beingUninstalled(ctx, d.Client, d.Spec.Namespace, d.Spec.Release)
	if err != nil {
		return "", fmt.Errorf("find the record of release %s: %w", d.Spec.Release, err)
	}
	if !uninstalling {
		d.Log.Info("the release is not being uninstalled: nothing to do", "release", d.Spec.Release)
		return "nothing to do: the release is not being uninstalled", nil
	}
	if !armed(revision, d.Spec.Revision) {
		reason := notArmed(revision, d.Spec.Revision, d.Spec.Release)
		d.Log.Warn("all data is kept", "cause", reason)
		return "all data is kept: " + reason, nil
	}
	if d.ownsWorkspaces, err = d.madeWorkspaces(ctx); err != nil {
		return "", err
	}
	volumes, err := d.volumes(ctx)
	if err != nil {
		return "", fmt.Errorf("list the volumes of the data: %w", err)
	}
	targets, err := d.targets(ctx)
	if err != nil {
		return "", err
	}
	for _, t := range targets {
		d.delete(ctx, t)
	}
	if err := errors.Join(d.errs...); err != nil {
		return "", fmt.Errorf("not all data could be deleted: %w", err)
	}
	if err := hook.Poll(ctx, d.Log, "the data to be gone", func(ctx context.Context) (bool, string, error) {
		return d.gone(ctx, volumes)
	}); err != nil {
		return "", err
	}
	stays, err := d.stays(ctx, volumes)
	if err != nil {
		return "", fmt.Errorf("the data is deleted; list what stays: %w", err)
	}
	return d.sum(stays), nil
}

// targets are the objects to delete. The Cluster comes first: what belongs to it goes meanwhile.
func (d *Delete) targets(ctx context.Context) ([]target, error) {
	spec := d.Spec
	var targets []target
	add := func(kind string, resource schema.GroupVersionResource, names ...string) {
		for _, name := range names {
			targets = append(targets, target{kind, resource, spec.Namespace, name})
		}
	}
	if spec.Cluster != "" {
		add("Cluster", kube.Clusters, spec.Cluster)
	}
	add("Job", kube.Jobs, spec.Jobs...)
	for _, claim := range spec.Claims {
		targets = append(targets, target{"PersistentVolumeClaim", kube.Claims, claim.Namespace, claim.Name})
	}
	made, err := d.made(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the Secrets: %w", err)
	}
	for _, name := range made {
		if slices.Contains(spec.Secrets, name) {
			add("Secret", kube.Secrets, name)
		}
	}
	add("ConfigMap", kube.ConfigMaps, spec.ConfigMaps...)
	add("Lease", kube.Leases, spec.Leases...)
	if d.ownsWorkspaces {
		targets = append(targets, target{"Namespace", kube.Namespaces, "", spec.Workspaces.Namespace})
	}
	return targets, nil
}

// madeWorkspaces tells whether the namespace of the workspaces is this release's. Release names are unique in a
// namespace only, so the owner's namespace counts too.
func (d *Delete) madeWorkspaces(ctx context.Context) (bool, error) {
	spec := d.Spec
	if !spec.Workspaces.Created {
		return false, nil
	}
	namespace, err := d.Client.Resource(kube.Namespaces, "").Get(ctx, spec.Workspaces.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		// An earlier run has deleted it; volumes of it may be left.
		return true, nil
	case err != nil:
		return false, fmt.Errorf("find out who made the namespace of the workspaces: %w", err)
	}
	if kube.OtherOwner(namespace, spec.Release, spec.Namespace) != "" {
		d.Log.Warn("the namespace of the workspaces is not this release's: it stays", "namespace", spec.Workspaces.Namespace)
		return false, nil
	}
	return true, nil
}

// made are the names of the Secrets that nap-hooks has made.
func (d *Delete) made(ctx context.Context) ([]string, error) {
	list, err := d.Client.ListMetadata(ctx, kube.Secrets, d.Spec.Namespace, metav1.ListOptions{LabelSelector: labelled(kube.ManagedByLabel, kube.FieldManager)})
	var names []string
	for _, secret := range list {
		names = append(names, secret.Name)
	}
	return names, err
}

func (d *Delete) delete(ctx context.Context, t target) {
	err := d.Client.Resource(t.resource, t.namespace).Delete(ctx, t.name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		d.errs = append(d.errs, fmt.Errorf("%s: %w", t, err))
	default:
		d.Log.Info("deleting", "object", t.String())
		d.deleted = append(d.deleted, t)
	}
}

// ofRelease tells whether a claim holds data of the release that is being deleted.
func (d *Delete) ofRelease(namespace, name string, labels map[string]string) bool {
	spec := d.Spec
	return slices.Contains(spec.Claims, hook.NamespacedName{Namespace: namespace, Name: name}) ||
		spec.Cluster != "" && namespace == spec.Namespace && labels["cnpg.io/cluster"] == spec.Cluster ||
		d.ownsWorkspaces && namespace == spec.Workspaces.Namespace
}

// claims are what there still is of the release's claims in its own namespace.
func (d *Delete) claims(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
	list, err := d.Client.ListMetadata(ctx, kube.Claims, d.Spec.Namespace, metav1.ListOptions{})
	return slices.DeleteFunc(list, func(claim metav1.PartialObjectMetadata) bool {
		return !d.ofRelease(claim.Namespace, claim.Name, claim.Labels)
	}), err
}

// volumes are the names of those that hold the data. They are looked up before, by the claims, which go.
func (d *Delete) volumes(ctx context.Context) ([]string, error) {
	claims, err := d.claims(ctx)
	if err != nil {
		return nil, err
	}
	list, err := kube.List[corev1.PersistentVolume](ctx, d.Client, kube.Volumes, "", metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, volume := range list {
		claim := volume.Spec.ClaimRef
		if claim == nil {
			continue
		}
		of := func(c metav1.PartialObjectMetadata) bool {
			return c.Namespace == claim.Namespace && c.Name == claim.Name
		}
		if slices.ContainsFunc(claims, of) || d.ofRelease(claim.Namespace, claim.Name, nil) {
			names = append(names, volume.Name)
		}
	}
	return names, nil
}

// retained are those of the volumes that are there and are not deleted with their claim, and the others.
func (d *Delete) retained(ctx context.Context, names []string) (retained, others []string, err error) {
	list, err := kube.List[corev1.PersistentVolume](ctx, d.Client, kube.Volumes, "", metav1.ListOptions{})
	for _, volume := range list {
		switch {
		case !slices.Contains(names, volume.Name):
		case volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
			others = append(others, volume.Name)
		default:
			retained = append(retained, volume.Name)
		}
	}
	return retained, others, err
}

func (d *Delete) gone(ctx context.Context, volumes []string) (bool, string, error) {
	var left []string
	claims, err := d.claims(ctx)
	if err != nil {
		return false, kube.Brief(err), nil
	}
	for _, claim := range claims {
		left = append(left, fmt.Sprintf("PersistentVolumeClaim %s/%s", claim.Namespace, claim.Name))
	}
	for _, t := range d.deleted {
		// Those are listed above, or go with the namespace.
		if t.resource != kube.Clusters && t.resource != kube.Namespaces {
			continue
		}
		_, err := d.Client.Resource(t.resource, t.namespace).Get(ctx, t.name, metav1.GetOptions{})
		switch {
		case err == nil:
			left = append(left, t.String())
		case !apierrors.IsNotFound(err):
			return false, kube.Brief(err), nil
		}
	}
	_, others, err := d.retained(ctx, volumes)
	if err != nil {
		return false, kube.Brief(err), nil
	}
	for _, name := range others {
		left = append(left, "PersistentVolume "+name)
	}
	return len(left) == 0, "there is still " + strings.Join(left, ", "), nil
}

// stays tells what an uninstall leaves all the same, each with the command that removes it.
func (d *Delete) stays(ctx context.Context, volumes []string) ([]string, error) {
	spec := d.Spec
	var stays []string
	retained, _, err := d.retained(ctx, volumes)
	if err != nil {
		return nil, err
	}
	for _, name := range retained {
		stays = append(stays, fmt.Sprintf("PersistentVolume %s, whose policy is Retain: kubectl delete persistentvolume %s", name, name))
	}
	for _, name := range spec.GivenSecrets {
		stays = append(stays, fmt.Sprintf("Secret %s/%s, which you gave: kubectl delete secret %s -n %s", spec.Namespace, name, name, spec.Namespace))
	}
	for _, claim := range spec.GivenClaims {
		stays = append(stays, fmt.Sprintf("PersistentVolumeClaim %s/%s, which you gave: kubectl delete persistentvolumeclaim %s -n %s", claim.Namespace, claim.Name, claim.Name, claim.Namespace))
	}
	made, err := d.made(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range made {
		if !slices.Contains(spec.Secrets, name) {
			stays = append(stays, fmt.Sprintf("Secret %s/%s, made under other values: kubectl delete secret %s -n %s", spec.Namespace, name, name, spec.Namespace))
		}
	}
	if !spec.Workspaces.Created {
		list, err := d.Client.ListMetadata(ctx, kube.Claims, spec.Workspaces.Namespace, metav1.ListOptions{LabelSelector: workspaces.Selector})
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			stays = append(stays, fmt.Sprintf("%d volumes of workspaces in a namespace that this release did not make: kubectl delete deployments,statefulsets,services,secrets,persistentvolumeclaims -l %s -n %s",
				len(list), workspaces.Selector, spec.Workspaces.Namespace))
		}
	}
	if spec.CRDGroup == "" {
		return stays, nil
	}
	crds, err := d.Client.ListMetadata(ctx, kube.CRDs, "", metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, crd := range crds {
		if strings.HasSuffix(crd.Name, "."+spec.CRDGroup) {
			names = append(names, crd.Name)
		}
	}
	if len(names) > 0 {
		stays = append(stays, "CustomResourceDefinitions, which all databases of the cluster need: kubectl delete customresourcedefinition "+strings.Join(names, " "))
	}
	return stays, nil
}

func (d *Delete) sum(stays []string) string {
	names := make([]string, len(d.deleted))
	for i, t := range d.deleted {
		names[i] = t.String()
		d.Log.Info("deleted", "object", names[i])
	}
	for _, s := range stays {
		d.Log.Info("stays", "object", s)
	}
	summary := "no data was there"
	if len(names) > 0 {
		summary = "deleted: " + strings.Join(names, ", ")
	}
	if len(stays) > 0 {
		summary += "; stays: " + strings.Join(stays, "; ")
	}
	return summary
}
