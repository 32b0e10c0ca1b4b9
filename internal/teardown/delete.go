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
		if hook.CodeOf(err) == hook.Deadline {
			err = fmt.Errorf("%w; Kubernetes continues to delete it%s", err, d.waiting())
		}
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

// claims are the names of what there still is of the release's claims in its own namespace.
func (d *Delete) claims(ctx context.Context) ([]string, error) {
	var names []string
	err := d.Client.EachMetadata(ctx, kube.Claims, d.Spec.Namespace, metav1.ListOptions{},
		func(claim *metav1.PartialObjectMetadata) {
			if d.ofRelease(claim.Namespace, claim.Name, claim.Labels) {
				names = append(names, claim.Name)
			}
		})
	return names, err
}

// volumes are the names of those that hold the data. They are looked up before, by the claims, which go. The cluster
// may have tens of thousands.
func (d *Delete) volumes(ctx context.Context) (map[string]bool, error) {
	names, err := d.claims(ctx)
	if err != nil {
		return nil, err
	}
	claims := map[string]bool{}
	for _, name := range names {
		claims[name] = true
	}
	volumes := map[string]bool{}
	err = kube.Each(ctx, d.Client, kube.Volumes, "", metav1.ListOptions{}, func(volume *kube.Volume) {
		claim := volume.Spec.ClaimRef
		if claim.Name != "" && (claim.Namespace == d.Spec.Namespace && claims[claim.Name] ||
			d.ofRelease(claim.Namespace, claim.Name, nil)) {
			volumes[volume.Metadata.Name] = true
		}
	})
	return volumes, err
}

// retained are those of the volumes that are there and are not deleted with their claim, and the others.
func (d *Delete) retained(ctx context.Context, names map[string]bool) (retained, others []string, err error) {
	err = kube.Each(ctx, d.Client, kube.Volumes, "", metav1.ListOptions{}, func(volume *kube.Volume) {
		switch name := volume.Metadata.Name; {
		case !names[name]:
		case volume.Spec.ReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
			others = append(others, name)
		default:
			retained = append(retained, name)
		}
	})
	return retained, others, err
}

// maxLeft bounds how many of the objects that are left are named.
const maxLeft = 5

// gone looks for volumes only once the workspaces' namespace is gone: until then theirs are there too, tens of
// thousands perhaps, which the API server would list every second.
func (d *Delete) gone(ctx context.Context, volumes map[string]bool) (bool, string, error) {
	var left []string
	claims, err := d.claims(ctx)
	if err != nil {
		return false, kube.Brief(err), nil
	}
	for _, name := range claims {
		left = append(left, fmt.Sprintf("PersistentVolumeClaim %s/%s", d.Spec.Namespace, name))
	}
	namespace := false
	for _, t := range d.deleted {
		// Those are listed above, or go with the namespace.
		if t.resource != kube.Clusters && t.resource != kube.Namespaces {
			continue
		}
		_, err := d.Client.Resource(t.resource, t.namespace).Get(ctx, t.name, metav1.GetOptions{})
		switch {
		case err == nil:
			left = append(left, t.String())
			namespace = namespace || t.resource == kube.Namespaces
		case !apierrors.IsNotFound(err):
			return false, kube.Brief(err), nil
		}
	}
	if namespace {
		return false, "there is still " + some(left, maxLeft), nil
	}
	_, others, err := d.retained(ctx, volumes)
	if err != nil {
		return false, kube.Brief(err), nil
	}
	for _, name := range others {
		left = append(left, "PersistentVolume "+name)
	}
	return len(left) == 0, "there is still " + some(left, maxLeft), nil
}

// waiting is how to wait for what takes longest: a namespace with tens of thousands of objects.
func (d *Delete) waiting() string {
	for _, t := range d.deleted {
		if t.resource == kube.Namespaces {
			return fmt.Sprintf(": wait for it with kubectl wait --for=delete namespace/%s --timeout=1h", t.name)
		}
	}
	return ""
}

// some names the first of a list and counts the others.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// stays tells what an uninstall leaves all the same, each with the command that removes it.
func (d *Delete) stays(ctx context.Context, volumes map[string]bool) ([]string, error) {
	spec := d.Spec
	var stays []string
	retained, _, err := d.retained(ctx, volumes)
	if err != nil {
		return nil, err
	}
	for i, name := range retained {
		if i == maxKept {
			stays = append(stays, fmt.Sprintf("%d more PersistentVolumes whose policy is Retain: kubectl get persistentvolumes "+
				"shows them as Released", len(retained)-i))
			break
		}
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
		there := 0
		err := d.Client.EachMetadata(ctx, kube.Claims, spec.Workspaces.Namespace,
			metav1.ListOptions{LabelSelector: workspaces.Selector}, func(*metav1.PartialObjectMetadata) { there++ })
		if err != nil {
			return nil, err
		}
		if there > 0 {
			stays = append(stays, fmt.Sprintf("%d volumes of workspaces in a namespace that this release did not make: kubectl delete deployments,statefulsets,services,secrets,persistentvolumeclaims -l %s -n %s",
				there, workspaces.Selector, spec.Workspaces.Namespace))
		}
	}
	if spec.CRDGroup == "" {
		return stays, nil
	}
	var names []string
	err = d.Client.EachMetadata(ctx, kube.CRDs, "", metav1.ListOptions{}, func(crd *metav1.PartialObjectMetadata) {
		if strings.HasSuffix(crd.Name, "."+spec.CRDGroup) {
			names = append(names, crd.Name)
		}
	})
	if err != nil {
		return nil, err
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
		// Helm prints its list after this log, and it knows nothing of this Job.
		d.Log.Info("what Helm lists next as kept due to the resource policy was deleted too, but for what stays, see above")
		summary = "deleted: " + strings.Join(names, ", ")
	}
	if len(stays) > 0 {
		summary += "; stays: " + strings.Join(stays, "; ")
	}
	return summary
}
