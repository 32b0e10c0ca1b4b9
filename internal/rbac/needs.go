package rbac

import (
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Needs lists what installing, upgrading, rolling back and uninstalling takes, with Helm 3 and Helm 4, --wait
// included. missing are the namespaces that are not there yet. mapper knows the cluster's kinds; nil stands for guesses.
func Needs(set *requirement.Set, missing []string, mapper meta.RESTMapper) ([]Need, error) {
	c := &collector{mapper: mapper, objects: set.Objects}
	for _, namespace := range missing {
		gvk := schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
		c.add(false, Right{Verb: "create"}, gvk, "Namespace "+namespace)
		c.add(false, Right{Verb: "patch", Name: namespace}, gvk, "Namespace "+namespace)
	}
	c.releaseRecords(set.Namespace)
	if err := c.lookups(set); err != nil {
		return nil, err
	}
	for _, object := range set.Objects {
		if object.By != requirement.Helm {
			continue
		}
		if object.Hook == nil {
			c.member(object)
		} else {
			c.hook(object)
		}
		if err := c.grants(object); err != nil {
			return nil, fmt.Errorf("%s: %s %s: %w", object.Source, object.GetKind(), object.GetName(), err)
		}
	}
	return minimal(c.needs), nil
}

type collector struct {
	mapper  meta.RESTMapper
	objects []requirement.Object
	needs   []Need
}

// add notes a need for a kind. Names restrict only objects of the whole cluster: those in a namespace of the
// release's own come and go with its revisions, and create, list and watch know no names at all.
func (c *collector) add(granted bool, right Right, gvk schema.GroupVersionKind, why string) {
	right.Group, right.Resource = gvk.Group, c.resource(gvk)
	if right.Namespace != "" || slices.Contains([]string{"create", "list", "watch"}, right.Verb) {
		right.Name = ""
	}
	c.needs = append(c.needs, Need{Right: right, Granted: granted, Why: why})
}

func (c *collector) resource(gvk schema.GroupVersionKind) string {
	if c.mapper != nil {
		if mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err == nil {
			return mapping.Resource.Resource
		}
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return plural.Resource
}

// releaseRecords are the Secrets in which Helm keeps the release.
func (c *collector) releaseRecords(namespace string) {
	for _, verb := range []string{"get", "list", "create", "update", "delete"} {
		c.add(false, Right{Verb: verb, Namespace: namespace}, schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, "Helm's records of the release")
	}
}

func (c *collector) lookups(set *requirement.Set) error {
	if set.Lookups == nil {
		return nil
	}
	asked, err := set.Lookups()
	if err != nil {
		return fmt.Errorf("find out what templates look up: %w", err)
	}
	for _, lookup := range asked {
		verb := "get"
		if lookup.Name == "" {
			verb = "list"
		}
		c.add(false, Right{Verb: verb, Namespace: lookup.Namespace, Name: lookup.Name},
			schema.FromAPIVersionAndKind(lookup.APIVersion, lookup.Kind), "a template looks it up")
	}
	return nil
}

// member is an object of the release itself.
func (c *collector) member(object requirement.Object) {
	verbs := []string{"get", "list", "watch", "create", "patch"}
	if object.GetKind() == "Namespace" {
		verbs = []string{"get", "list", "watch", "patch"}
	}
	if !kept(object) {
		verbs = append(verbs, "delete")
	}
	c.verbs(object, verbs...)
	switch object.GetKind() {
	case "Deployment":
		c.related(object, schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}, "list")
		c.related(object, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "list")
	case "StatefulSet", "DaemonSet", "ReplicaSet":
		c.related(object, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "list")
	}
}

// hook is an object that Helm makes, waits for and removes.
func (c *collector) hook(object requirement.Object) {
	c.verbs(object, "get", "list", "watch", "create", "patch", "delete")
	if object.GetKind() == "Job" || object.GetKind() == "Pod" {
		// The log of one that failed is what Helm prints of the cause.
		c.related(object, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "list")
		c.needs = append(c.needs, Need{
			Right: Right{Verb: "get", Resource: "pods/log", Namespace: object.GetNamespace()},
			Why:   "the log of a failed hook, of " + name(object),
		})
	}
}

func (c *collector) verbs(object requirement.Object, verbs ...string) {
	for _, verb := range verbs {
		c.add(false, Right{Verb: verb, Namespace: object.GetNamespace(), Name: object.GetName()}, object.GroupVersionKind(), name(object))
	}
}

func (c *collector) related(object requirement.Object, gvk schema.GroupVersionKind, verb string) {
	c.add(false, Right{Verb: verb, Namespace: object.GetNamespace()}, gvk, "waiting for "+name(object))
}

// grants are the rights that a Role or a binding of the release hands out.
func (c *collector) grants(object requirement.Object) error {
	if object.GroupVersionKind().Group != rbacv1.GroupName {
		return nil
	}
	switch object.GetKind() {
	case "Role", "ClusterRole":
		role := &rbacv1.ClusterRole{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, role); err != nil {
			return err
		}
		c.rules(role.Rules, object.GetNamespace(), name(object))
		if role.AggregationRule != nil {
			// Whoever says which roles are merged could name any.
			c.rules([]rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}, "", name(object))
		}
	case "RoleBinding", "ClusterRoleBinding":
		binding := &rbacv1.ClusterRoleBinding{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, binding); err != nil {
			return err
		}
		namespace := ""
		if binding.RoleRef.Kind == "Role" {
			namespace = object.GetNamespace()
		}
		if !c.makes(binding.RoleRef.Kind, namespace, binding.RoleRef.Name) {
			c.add(true, Right{Verb: "bind", Namespace: namespace, Name: binding.RoleRef.Name},
				rbacv1.SchemeGroupVersion.WithKind(binding.RoleRef.Kind), "bound by "+name(object))
		}
	}
	return nil
}

func (c *collector) makes(kind, namespace, name string) bool {
	return slices.ContainsFunc(c.objects, func(o requirement.Object) bool {
		return o.By == requirement.Helm && o.GetKind() == kind && o.GetNamespace() == namespace && o.GetName() == name
	})
}

func (c *collector) rules(rules []rbacv1.PolicyRule, namespace, why string) {
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			for _, url := range rule.NonResourceURLs {
				c.needs = append(c.needs, Need{Right: Right{Verb: verb, URL: url}, Granted: true, Why: "granted by " + why})
			}
		}
		for _, right := range Expand(rule.Verbs, rule.APIGroups, rule.Resources, rule.ResourceNames, namespace) {
			c.needs = append(c.needs, Need{Right: right, Granted: true, Why: "granted by " + why})
		}
	}
}

func kept(object requirement.Object) bool {
	return object.GetAnnotations()["helm.sh/resource-policy"] == "keep"
}

func name(object requirement.Object) string { return chart.Describe(object.Unstructured) }
