// Package images lists the images that an installation pulls, and writes the list in the formats that other tools read.
package images

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	helmvalues "helm.sh/helm/v3/pkg/cli/values"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/requirement"
)

// DefaultKubernetes is the version to render for where there is no cluster to ask. Images hardly depend on it.
const DefaultKubernetes = "1.34"

// List is what an installation of one chart with some values pulls.
type List struct {
	Chart  Chart   `json:"chart"`
	Images []Image `json:"images"`
}

// Chart names the chart that a list or a lock belongs to.
type Chart struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// String is the chart as people write it, e.g. "neutree 0.2.0".
func (c Chart) String() string { return c.Name + " " + c.Version }

// Image is one image, with all that runs it.
type Image struct {
	// Ref is the full reference, e.g. "docker.io/library/busybox:latest".
	Ref  string `json:"image"`
	Uses []Use  `json:"uses"`
}

// Use is one reason to pull an image.
type Use struct {
	// Object is what runs it, e.g. "Deployment nap-cp".
	Object string `json:"object"`
	// Component says in words what it is for.
	Component string `json:"component"`
	// Value is the chart value that names the image. It is empty where a template names it.
	Value string `json:"value"`
	// RunTime is set where no pod of the release runs the image, but a pod that is started later by something else.
	RunTime bool `json:"runTime"`
}

// Of lists what an installation pulls: the images of the release's pods, of the Jobs that hooks start, and what the
// operator, the runner and OpenSandbox pull at run time. Each image is listed once.
func Of(set *requirement.Set) (*List, error) {
	uses := map[string][]Use{}
	// Each value that names the image is a use of its own.
	addOf := func(ref string, use Use, values []string) error {
		full, err := fullName(ref)
		if err != nil {
			return fmt.Errorf("%s: %w", use.Object, err)
		}
		if len(values) == 0 {
			values = []string{""}
		}
		for _, use.Value = range values {
			if !slices.Contains(uses[full], use) {
				uses[full] = append(uses[full], use)
			}
		}
		return nil
	}
	add := func(ref string, use Use) error { return addOf(ref, use, set.ImageValues[ref]) }
	pods := slices.Concat(set.Pods, set.HookJobs)
	if set.Backup != nil {
		pods = append(pods, *set.Backup)
	}
	for _, pod := range pods {
		for _, container := range pod.Containers() {
			use := Use{Object: pod.Owner, Component: pod.Why, RunTime: pod.By != requirement.Helm}
			if err := add(container.Image, use); err != nil {
				return nil, err
			}
		}
	}
	for _, image := range set.Images {
		// The others are those of the pods above.
		if !image.Runtime {
			continue
		}
		for _, owner := range image.Owners {
			use := Use{Object: owner, Component: image.Why, RunTime: true}
			if uses := uses[image.Ref]; slices.ContainsFunc(uses, func(u Use) bool { return u.Object == owner }) {
				continue
			}
			if err := add(image.Ref, use); err != nil {
				return nil, err
			}
		}
	}
	if enabled, _, _ := unstructured.NestedBool(set.Values, "global", "modules", "sandbox", "enabled"); enabled {
		for ref, values := range set.ImageValues {
			warmed := slices.DeleteFunc(slices.Clone(values), func(value string) bool {
				return !strings.HasPrefix(value, "sandbox.imageWarmer.images") || !longest(set.ImageValues, ref, value)
			})
			if len(warmed) == 0 {
				continue
			}
			use := Use{Object: "OpenSandbox", Component: "sandboxes", RunTime: true}
			if err := addOf(ref, use, warmed); err != nil {
				return nil, err
			}
		}
	}
	list := &List{Chart: Chart{Name: set.Chart.Name, Version: set.Chart.Version}}
	for _, ref := range slices.Sorted(maps.Keys(uses)) {
		slices.SortFunc(uses[ref], func(a, b Use) int {
			return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Component, b.Component),
				cmp.Compare(a.Value, b.Value))
		})
		list.Images = append(list.Images, Image{Ref: ref, Uses: uses[ref]})
	}
	return list, nil
}

// longest says whether a reference is the whole of what a value names: an image that has a tag and a digest is known
// by either, too.
func longest(values map[string][]string, ref, value string) bool {
	for other, named := range values {
		if len(other) > len(ref) && slices.Contains(named, value) {
			return false
		}
	}
	return true
}

// fullName adds the registry, the folder and the tag that container runtimes add. A digest stays behind its tag.
func fullName(ref string) (string, error) {
	tagged, digest, pinned := strings.Cut(ref, "@")
	parsed, err := name.ParseReference(ref)
	if err == nil && pinned && strings.Contains(tagged[strings.LastIndex(tagged, "/")+1:], ":") {
		parsed, err = name.NewTag(tagged)
	}
	if err != nil {
		return "", fmt.Errorf("image %q is no reference that a registry knows: %w", ref, err)
	}
	full := parsed.Name()
	// The library's name of Docker Hub is that of its oldest API.
	if rest, hub := strings.CutPrefix(full, name.DefaultRegistry+"/"); hub {
		full = "docker.io/" + rest
	}
	if _, tag := parsed.(name.Tag); tag && pinned {
		full += "@" + digest
	}
	return full, nil
}

// Why are the images whose reference contains text.
func (l *List) Why(text string) []Image {
	return slices.DeleteFunc(slices.Clone(l.Images), func(i Image) bool { return !strings.Contains(i.Ref, text) })
}

// EveryModule changes values so that every module is on. What a module needs to be rendered and no image depends on,
// such as the address of OpenSandbox, is made up.
func EveryModule(values helmvalues.Options) helmvalues.Options {
	values.Values = append(slices.Clone(values.Values),
		"global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://opensandbox.invalid",
		"sandbox.imageWarmer.enabled=true",
		"global.modules.browser.enabled=true", "browser.turn.host=192.0.2.1", "browser.coturn.enabled=true",
		"global.database.mode=cnpg", "cloudnative-pg.enabled=true")
	return values
}
