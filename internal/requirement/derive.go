package requirement

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Of derives what an installation of the rendered chart needs.
func Of(rendered *chart.Rendered, release, namespace string, of Chart) (*Set, error) {
	d := &derivation{set: &Set{Release: release, Namespace: namespace, Chart: of, Values: rendered.Values}, values: rendered.Values}
	for _, step := range []func(*chart.Rendered) error{d.objects, d.specs, d.pods, d.operator, d.database, d.workspaces} {
		if err := step(rendered); err != nil {
			return nil, err
		}
	}
	d.later()
	if err := d.hookJobs(); err != nil {
		return nil, err
	}
	d.claims()
	d.nodePorts()
	d.hostPorts()
	d.images()
	d.apis()
	if err := d.podSecurity(); err != nil {
		return nil, err
	}
	d.exposure()
	d.peers()
	return d.set, nil
}

type derivation struct {
	set    *Set
	values values
	// bootstrap is what the chart tells the Job that brings the release up.
	bootstrap hook.BootstrapSpec
	// backups is what it tells whoever makes a backup.
	backups backupjob.Plan
}

// clusterScoped are the kinds without a namespace that charts make. A kind of the release's own
// CustomResourceDefinitions says so there.
var clusterScoped = []string{
	"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "StorageClass", "PersistentVolume", "PriorityClass",
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "APIService", "IngressClass", "GatewayClass", "CSIDriver",
	"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterImageCatalog", "RuntimeClass",
}

func (d *derivation) objects(rendered *chart.Rendered) error {
	for _, object := range rendered.Objects {
		object := Object{Unstructured: object.DeepCopy(), Source: object.Source, By: Helm, Hook: object.Hook}
		if object.GetNamespace() == "" && !slices.Contains(clusterScoped, object.GetKind()) {
			object.SetNamespace(d.set.Namespace)
		}
		d.set.Objects = append(d.set.Objects, object)
	}
	d.set.Prefix = d.values.text("global", "namePrefix")
	return nil
}

// specs reads what the chart tells its hooks, and adds the objects that bootstrap makes.
func (d *derivation) specs(*chart.Rendered) error {
	for _, object := range slices.Clone(d.set.Objects) {
		if object.GetKind() != "ConfigMap" {
			continue
		}
		data, _, _ := unstructured.NestedStringMap(object.Object, "data")
		for _, spec := range []struct {
			name string
			into any
		}{{"prepare.yaml", &d.set.Prepare}, {"bootstrap.yaml", &d.bootstrap}, {backupjob.PlanFile, &d.backups}} {
			if err := yaml.Unmarshal([]byte(data[spec.name]), spec.into); err != nil {
				return fmt.Errorf("%s: %s: %w", object.Source, spec.name, err)
			}
		}
		if data["bootstrap.yaml"] == "" {
			continue
		}
		manifests := []string{d.bootstrap.Database.Manifest, d.bootstrap.SharedClaim.Manifest, d.bootstrap.Egress.Manifest}
		for _, name := range manifests {
			_, key, found := strings.Cut(strings.TrimPrefix(name, "/"), "/")
			if !found || data[key] == "" {
				continue
			}
			made := map[string]any{}
			if err := yaml.Unmarshal([]byte(data[key]), &made); err != nil {
				return fmt.Errorf("%s: %s: %w", object.Source, key, err)
			}
			shared := d.bootstrap.SharedClaim
			d.set.Objects = append(d.set.Objects, Object{Unstructured: &unstructured.Unstructured{Object: made},
				Source: object.Source + ": " + key, By: Bootstrap, KeepsSize: name == shared.Manifest && shared.DefaultSize})
		}
	}
	for _, secret := range d.set.Prepare.Secrets.Secrets {
		d.set.Secrets = append(d.set.Secrets, Secret{Secret: secret, Namespace: d.set.Prepare.Secrets.Namespace})
	}
	d.set.Egress.Mode = d.bootstrap.Egress.Mode
	for _, policy := range each[networkingv1.NetworkPolicy](d, "NetworkPolicy") {
		if policy.By == Bootstrap {
			d.set.Egress.Policy = policy.typed
		}
	}
	d.set.Workspaces = d.bootstrap.Workspaces.Namespace
	if d.set.Workspaces == "" {
		d.set.Workspaces = d.set.Namespace
	}
	d.set.WorkspacesCreated = slices.ContainsFunc(d.set.Objects, func(o Object) bool {
		return o.GetKind() == "Namespace" && o.GetName() == d.set.Workspaces
	})
	return nil
}

// apis lists the kinds that are made, once each.
func (d *derivation) apis() {
	brought := map[schema.GroupKind]bool{}
	for _, crd := range each[apiextensionsv1.CustomResourceDefinition](d, "CustomResourceDefinition") {
		brought[schema.GroupKind{Group: crd.typed.Spec.Group, Kind: crd.typed.Spec.Names.Kind}] = true
	}
	seen := map[schema.GroupVersionKind]bool{}
	for _, object := range d.set.Objects {
		gvk := object.GroupVersionKind()
		if seen[gvk] {
			continue
		}
		seen[gvk] = true
		api := API{GroupVersionKind: gvk, Brought: brought[gvk.GroupKind()], Source: object.Source}
		switch gvk.Group {
		case "postgresql.cnpg.io":
			api.Value = "cloudnative-pg.enabled"
		case "gateway.networking.k8s.io":
			api.Value = "global.exposure.type"
		}
		d.set.APIs = append(d.set.APIs, api)
	}
}

// typedObject is an object and what it says.
type typedObject[T any] struct {
	Object
	typed *T
}

// each reads all objects of a kind. The API server's own kinds always fit: the chart's tests see to it, and what a user
// adds by extraObjects that does not fit is left to the API server to refuse.
func each[T any](d *derivation, kind string) []typedObject[T] {
	var all []typedObject[T]
	for _, object := range d.set.Objects {
		if object.GetKind() != kind {
			continue
		}
		typed := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err == nil {
			all = append(all, typedObject[T]{object, typed})
		}
	}
	return all
}

// String names an object as people do, e.g. "Deployment nap/nap-cp".
func (o Object) String() string {
	if ns := o.GetNamespace(); ns != "" {
		return o.GetKind() + " " + ns + "/" + o.GetName()
	}
	return o.GetKind() + " " + o.GetName()
}
