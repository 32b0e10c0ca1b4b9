// Package chart renders a chart in-process, with Helm's own library, and lists what an installation of it
// would create.
package chart

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Options say what is rendered, and for whom.
type Options struct {
	// Release and Namespace are what `helm install RELEASE -n NAMESPACE` is given.
	Release   string
	Namespace string
	// Values are the user's, as Values returns them.
	Values map[string]any
	// Kubernetes is the cluster to render for.
	Kubernetes Kubernetes
	// Upgrade renders what an upgrade would apply.
	Upgrade bool
	// Revision is the release's number, 1 unless given.
	Revision int
	// Cluster, when set, is what the template function lookup asks.
	Cluster *rest.Config
	// Answer, when set, answers lookup instead: nil for an object that does not exist.
	Answer func(Lookup) map[string]any
}

// Rendered is a chart with its values filled in.
type Rendered struct {
	// Objects are the release's own and then the hooks, each in the order in which Helm creates them.
	Objects []Object
	// Notes is the text that Helm prints after an installation.
	Notes string
	// Values are the user's values over the chart's defaults.
	Values map[string]any
}

// Object is one object that the chart makes.
type Object struct {
	*unstructured.Unstructured
	// Source is the template it comes from, e.g. "neutree/templates/guard.yaml".
	Source string
	// YAML is the object as the template wrote it, or, of an item of a List, what Helm makes of it.
	YAML string
	// Hook is nil for what belongs to the release.
	Hook *Hook
}

// Hook is when Helm creates an object that is not part of the release, and when it deletes it.
type Hook struct {
	// Name is the object's own, or that of the List in which Helm finds it.
	Name           string
	Events         []release.HookEvent
	Weight         int
	DeletePolicies []release.HookDeletePolicy
}

// On says whether the hook runs on an event.
func (h *Hook) On(event release.HookEvent) bool { return h != nil && slices.Contains(h.Events, event) }

// String names the object and the template it comes from.
func (o Object) String() string {
	name := o.GetName()
	if ns := o.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return fmt.Sprintf("%s: %s %s", o.Source, o.GetKind(), name)
}

// Hooks are the objects created on an event, in the order in which Helm creates them.
func (r *Rendered) Hooks(event release.HookEvent) []Object {
	var hooks []Object
	for _, object := range r.Objects {
		if object.Hook.On(event) {
			hooks = append(hooks, object)
		}
	}
	slices.SortStableFunc(hooks, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Hook.Weight, b.Hook.Weight), cmp.Compare(a.Hook.Name, b.Hook.Name))
	})
	return hooks
}

// Main are the objects of the release itself.
func (r *Rendered) Main() []Object {
	return slices.DeleteFunc(slices.Clone(r.Objects), func(o Object) bool { return o.Hook != nil })
}

// Render fills in a freshly loaded chart. Its errors are Helm's: the schema's complaints name each key.
func Render(ch *helmchart.Chart, opts Options) (*Rendered, error) {
	caps, err := opts.Kubernetes.capabilities()
	if err != nil {
		return nil, err
	}
	if want := ch.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, caps.KubeVersion.String()) {
		return nil, fmt.Errorf("chart %s %s needs Kubernetes %s, the cluster has %s",
			ch.Name(), ch.Metadata.Version, want, caps.KubeVersion.String())
	}
	values := opts.Values
	if values == nil {
		values = map[string]any{}
	}
	if err := chartutil.ProcessDependenciesWithMerge(ch, values); err != nil {
		return nil, fmt.Errorf("chart %s: switch its dependencies on and off: %w", ch.Name(), err)
	}
	in, err := chartutil.ToRenderValues(ch, values, chartutil.ReleaseOptions{
		Name: opts.Release, Namespace: opts.Namespace, Revision: max(1, opts.Revision),
		IsInstall: !opts.Upgrade, IsUpgrade: opts.Upgrade,
	}, caps)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", ch.Name(), err)
	}
	files, err := fill(ch, in, opts)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", ch.Name(), err)
	}
	rendered := &Rendered{Notes: takeNotes(files, ch.Name())}
	if merged, ok := in["Values"].(chartutil.Values); ok {
		rendered.Values = merged
	}
	for _, crd := range ch.CRDObjects() {
		if err := rendered.add(crd.Filename, string(crd.File.Data), nil); err != nil {
			return nil, err
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, caps.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", ch.Name(), err)
	}
	for _, manifest := range manifests {
		if err := rendered.add(manifest.Name, manifest.Content, nil); err != nil {
			return nil, err
		}
	}
	for _, hook := range hooks {
		err := rendered.add(hook.Path, hook.Manifest, &Hook{
			Name: hook.Name, Events: hook.Events, Weight: hook.Weight, DeletePolicies: hook.DeletePolicies})
		if err != nil {
			return nil, err
		}
	}
	return rendered, nil
}

// fill runs the templates.
func fill(ch *helmchart.Chart, in chartutil.Values, opts Options) (map[string]string, error) {
	switch {
	case opts.Answer != nil:
		return engine.RenderWithClientProvider(ch, in, answers(opts.Answer))
	case opts.Cluster != nil:
		return engine.New(opts.Cluster).Render(ch, in)
	}
	return engine.Engine{}.Render(ch, in)
}

// takeNotes removes every NOTES.txt from what was rendered and returns the umbrella's.
func takeNotes(files map[string]string, chart string) string {
	notes := files[path.Join(chart, "templates", "NOTES.txt")]
	for name := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(files, name)
		}
	}
	return notes
}

// add appends the objects of one rendered template. Only a file in crds/ can hold more than one.
func (r *Rendered) add(source, content string, hook *Hook) error {
	split := releaseutil.SplitManifests(content)
	keys := make([]string, 0, len(split))
	for key := range split {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, key := range keys {
		object := map[string]any{}
		if err := yaml.Unmarshal([]byte(split[key]), &object); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		if len(object) == 0 {
			continue
		}
		document := Object{
			Unstructured: &unstructured.Unstructured{Object: object},
			Source:       source, YAML: split[key], Hook: hook,
		}
		items, err := document.items()
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		r.Objects = append(r.Objects, items...)
	}
	return nil
}

// items are the objects of a List, which is what Helm creates of one; or the object itself.
func (o Object) items() ([]Object, error) {
	if !o.IsList() {
		return []Object{o}, nil
	}
	list, err := o.ToList()
	if err != nil {
		return nil, err
	}
	var items []Object
	for i := range list.Items {
		text, err := yaml.Marshal(list.Items[i].Object)
		if err != nil {
			return nil, err
		}
		items = append(items, Object{Unstructured: &list.Items[i], Source: o.Source, YAML: string(text), Hook: o.Hook})
	}
	return items, nil
}
