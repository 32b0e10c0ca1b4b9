package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/storage"
)

// demand is what an install or an upgrade takes of a namespace besides what the release has there, under the names that
// quotas use, at each of three moments. What exists counts already.
type demand struct {
	s         *preflight.Subject
	namespace string
	// asked says whether a quota of the namespace limits a name: nothing else is looked up.
	asked func(...corev1.ResourceName) bool

	// before is while the hooks before the rollout run, main while Helm applies the release, after while the hooks after
	// it run.
	before, main, after corev1.ResourceList
}

// demanded works out what the release takes of a namespace.
func demanded(
	ctx context.Context, s *preflight.Subject, namespace string, asked func(...corev1.ResourceName) bool,
) (corev1.ResourceList, error) {
	d := &demand{s: s, namespace: namespace, asked: asked,
		before: corev1.ResourceList{}, main: corev1.ResourceList{}, after: corev1.ResourceList{}}
	for _, part := range []func(context.Context) error{d.objects, d.ports, d.claims, d.pods} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	return highest(d.before, d.main, d.after), nil
}

// highest is the largest of each amount.
func highest(lists ...corev1.ResourceList) corev1.ResourceList {
	most := corev1.ResourceList{}
	for _, list := range lists {
		for name, amount := range list {
			if have, seen := most[name]; !seen || amount.Cmp(have) > 0 {
				most[name] = amount
			}
		}
	}
	return most
}

// plus adds times the amounts to a list.
func plus(list, amounts corev1.ResourceList, times int64) {
	for name, amount := range amounts {
		have := list[name].DeepCopy()
		for range max(times, -times) {
			if times < 0 {
				have.Sub(amount)
			} else {
				have.Add(amount)
			}
		}
		list[name] = have
	}
}

// number counts n objects, under every name that quotas have for them.
func number(n int64, names ...corev1.ResourceName) corev1.ResourceList {
	list := corev1.ResourceList{}
	for _, name := range names {
		list[name] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return list
}

// countNames are the names under which quotas count the objects of a kind.
func countNames(gr schema.GroupResource) []corev1.ResourceName {
	names := []corev1.ResourceName{corev1.ResourceName("count/" + gr.String())}
	switch gr.String() {
	case "services", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas", "replicationcontrollers":
		names = append(names, corev1.ResourceName(gr.Resource))
	}
	return names
}

// hooks says on which of Helm's events hooks run before and after the rollout.
func (d *demand) hooks() (before, after release.HookEvent) {
	if d.s.Options.Upgrade {
		return release.HookPreUpgrade, release.HookPostUpgrade
	}
	return release.HookPreInstall, release.HookPostInstall
}

// created is an object and the moments at which it is there.
type created struct {
	gvk  schema.GroupVersionKind
	name string
	in   []corev1.ResourceList
}

// all are the objects of the namespace, except PVCs and pods.
func (d *demand) all() []created {
	set := d.s.Requirements
	before, after := d.hooks()
	var all []created
	add := func(gvk schema.GroupVersionKind, name string, in ...corev1.ResourceList) {
		if slices.ContainsFunc(all, func(c created) bool { return c.gvk == gvk && c.name == name }) {
			return
		}
		all = append(all, created{gvk, name, in})
	}
	for _, object := range slices.Concat(set.Objects, set.Later) {
		switch {
		case object.GetNamespace() != d.namespace, object.GetKind() == "PersistentVolumeClaim", object.GetKind() == "Pod":
		case object.By == requirement.Runner && d.s.Options.Upgrade:
			// Workspaces that exist keep theirs.
		case object.Hook == nil:
			add(object.GroupVersionKind(), object.GetName(), d.main, d.after)
			if object.GetKind() == "Deployment" {
				add(object.GroupVersionKind().GroupVersion().WithKind("ReplicaSet"), object.GetName(), d.main, d.after)
			}
		case object.Hook.On(before):
			add(object.GroupVersionKind(), object.GetName(), d.before)
		case object.Hook.On(after):
			add(object.GroupVersionKind(), object.GetName(), d.after)
		}
	}
	job := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	if d.namespace == set.Namespace {
		if d.s.Options.Upgrade {
			for _, pod := range set.HookJobs {
				add(job, strings.TrimPrefix(pod.Owner, "Job "), d.before)
			}
		} else if cluster := set.Database.Cluster; cluster != "" {
			// The operator's, which ends before its first instance starts.
			add(job, cluster+"-1-initdb", d.main)
		}
	}
	secret := schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	for _, wanted := range set.Secrets {
		if wanted.Namespace == d.namespace && !wanted.Existing {
			add(secret, wanted.Name, d.before, d.main, d.after)
		}
	}
	return all
}

// recordsKept is how many records of a release Helm keeps unless it is given another number.
const recordsKept = 10

// objects counts objects by their kind.
func (d *demand) objects(ctx context.Context) error {
	kinds := map[schema.GroupVersionKind][]created{}
	var order []schema.GroupVersionKind
	for _, object := range d.all() {
		if kinds[object.gvk] == nil {
			order = append(order, object.gvk)
		}
		kinds[object.gvk] = append(kinds[object.gvk], object)
	}
	for _, gvk := range order {
		gvr, err := d.s.Cluster.Resource(ctx, gvk)
		if err != nil {
			return err
		}
		names := countNames(gvr.GroupResource())
		if gvr.Empty() || !d.asked(names...) {
			continue
		}
		live, err := d.s.Cluster.ListMetadata(ctx, gvr, d.namespace, "")
		if err != nil {
			return fmt.Errorf("list %s in namespace %s: %w", gvr.Resource, d.namespace, err)
		}
		exists := map[string]bool{}
		for i := range live {
			exists[live[i].Name] = true
			if gvk.Kind == "ReplicaSet" {
				exists[ownerOf(&live[i])] = true
			}
		}
		for _, object := range kinds[gvk] {
			if !exists[object.name] {
				for _, list := range object.in {
					plus(list, number(1, names...), 1)
				}
			}
		}
		d.added(gvk.Kind, live, names)
	}
	return nil
}

// added counts what an install or upgrade adds under another name each time: Helm's record of the revision, and the
// ReplicaSet of at least one Deployment that changes.
func (d *demand) added(kind string, live []metav1.PartialObjectMetadata, names []corev1.ResourceName) {
	set := d.s.Requirements
	switch {
	case kind == "ReplicaSet" && d.s.Options.Upgrade:
		plus(d.main, number(1, names...), 1)
	case kind == "Secret" && d.namespace == set.Namespace:
		records := 0
		for _, secret := range live {
			if secret.Labels["owner"] == "helm" && secret.Labels["name"] == set.Release {
				records++
			}
		}
		if records < recordsKept {
			for _, list := range []corev1.ResourceList{d.before, d.main, d.after} {
				plus(list, number(1, names...), 1)
			}
		}
	}
}

// ownerOf is the name of the object that owns another, or "".
func ownerOf(object *metav1.PartialObjectMetadata) string {
	if owner := metav1.GetControllerOfNoCopy(object); owner != nil {
		return owner.Name
	}
	return ""
}

// ports counts the node ports and load balancers of Services.
func (d *demand) ports(ctx context.Context) error {
	if !d.asked(corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers) {
		return nil
	}
	for _, object := range d.s.Requirements.Objects {
		if object.GetKind() != "Service" || object.GetNamespace() != d.namespace || object.Hook != nil {
			continue
		}
		var service corev1.Service
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &service); err != nil {
			continue // the API server says so: admission.policy
		}
		wanted := portsOf(&service)
		live, err := kube.Get[corev1.Service](ctx, d.s.Cluster.Untyped, kube.Services, d.namespace, object.GetName())
		switch {
		case err == nil:
			plus(wanted, portsOf(live), -1)
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("read Service %s/%s: %w", d.namespace, object.GetName(), err)
		}
		plus(d.main, wanted, 1)
	}
	return nil
}

// portsOf are the ports on nodes, and the load balancer, of a Service.
func portsOf(service *corev1.Service) corev1.ResourceList {
	list := corev1.ResourceList{}
	nodePorts := number(int64(len(service.Spec.Ports)), corev1.ResourceServicesNodePorts)
	switch service.Spec.Type {
	case corev1.ServiceTypeNodePort:
		plus(list, nodePorts, 1)
	case corev1.ServiceTypeLoadBalancer:
		plus(list, number(1, corev1.ResourceServicesLoadBalancers), 1)
		if allocate := service.Spec.AllocateLoadBalancerNodePorts; allocate == nil || *allocate {
			plus(list, nodePorts, 1)
		}
	}
	return list
}

// noClass is no name that a StorageClass can have.
const noClass = "-"

// perClass is how quotas name what is counted for one StorageClass.
const perClass = ".storageclass.storage.k8s.io/"

// claims counts PVCs and their sizes, of all classes and of each.
func (d *demand) claims(ctx context.Context) error {
	set := d.s.Requirements
	classes, err := d.s.Cluster.StorageClasses(ctx)
	if err != nil {
		return fmt.Errorf("list the StorageClasses: %w", err)
	}
	wanted := slices.Clone(set.Claims)
	for _, object := range set.Objects {
		known := slices.ContainsFunc(set.Claims, func(c requirement.Claim) bool {
			return c.Name == object.GetName() && c.Namespace == object.GetNamespace()
		})
		if object.GetKind() == "PersistentVolumeClaim" && object.Hook == nil && !known {
			// One that is for a given volume needs no class, but quotas count it.
			size, _, _ := unstructured.NestedString(object.Object, "spec", "resources", "requests", "storage")
			quantity, _ := resource.ParseQuantity(size)
			wanted = append(wanted, requirement.Claim{Name: object.GetName(), Namespace: object.GetNamespace(),
				Size: quantity, KeepsSize: object.KeepsSize, Count: 1, By: object.By, Class: noClass})
		}
	}
	for _, claim := range wanted {
		if claim.Namespace != d.namespace || claim.By == requirement.Runner && d.s.Options.Upgrade {
			continue
		}
		counts, sizes := countNames(kube.Claims.GroupResource()), []corev1.ResourceName{corev1.ResourceRequestsStorage}
		request := storage.ClassRequest{Name: claim.Class, AccessMode: claim.AccessMode}
		if class, _ := storage.Resolve(classes, request); class != nil {
			counts = append(counts, corev1.ResourceName(class.Name+perClass+"persistentvolumeclaims"))
			sizes = append(sizes, corev1.ResourceName(class.Name+perClass+"requests.storage"))
		}
		if !d.asked(slices.Concat(counts, sizes)...) {
			continue
		}
		exist, growth, err := d.claimed(ctx, claim)
		if err != nil {
			return err
		}
		for range max(0, int(claim.Count)-exist) {
			plus(d.main, number(1, counts...), 1)
			growth.Add(claim.Size)
		}
		for _, name := range sizes {
			plus(d.main, corev1.ResourceList{name: growth}, 1)
		}
	}
	return nil
}

// claimed is how many PVCs of a claim exist, and how much they would grow.
func (d *demand) claimed(ctx context.Context, claim requirement.Claim) (exist int, growth resource.Quantity, err error) {
	count := func(pvc *corev1.PersistentVolumeClaim) {
		exist++
		if claim.KeepsSize {
			return
		}
		more := claim.Size.DeepCopy()
		more.Sub(*pvc.Spec.Resources.Requests.Storage())
		if more.Sign() > 0 {
			growth.Add(more)
		}
	}
	client := d.s.Cluster.Untyped
	if claim.Selector != "" {
		err = kube.Each(ctx, client, kube.Claims, claim.Namespace, metav1.ListOptions{LabelSelector: claim.Selector}, count)
		if err != nil {
			err = fmt.Errorf("list the PVCs in namespace %s: %w", claim.Namespace, err)
		}
		return exist, growth, err
	}
	pvc, err := kube.Get[corev1.PersistentVolumeClaim](ctx, client, kube.Claims, claim.Namespace, claim.Name)
	switch {
	case apierrors.IsNotFound(err):
		return 0, growth, nil
	case err != nil:
		return 0, growth, fmt.Errorf("read PVC %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	count(pvc)
	return exist, growth, nil
}
