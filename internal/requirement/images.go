package requirement

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/neutree-ai/packaging/internal/platform"
)

// images lists what nodes pull. An image that pods with different placement run is listed for each of them.
func (d *derivation) images() {
	named := d.imageValues()
	seen := map[string]int{}
	var images []Image
	add := func(image Image) {
		where, err := json.Marshal([]any{image.Ref, image.Namespace, image.NodeSelector, image.Affinity, image.Tolerations})
		if err != nil {
			return
		}
		i, found := seen[string(where)]
		if !found {
			if values := named[image.Ref]; len(values) > 0 {
				image.Value = values[0]
			}
			seen[string(where)] = len(images)
			images = append(images, image)
			return
		}
		known := &images[i]
		for _, owner := range image.Owners {
			if !slices.Contains(known.Owners, owner) {
				known.Owners = append(known.Owners, owner)
			}
		}
		known.Runtime = known.Runtime && image.Runtime
		for _, secret := range image.PullSecrets {
			if !slices.Contains(known.PullSecrets, secret) {
				known.PullSecrets = append(known.PullSecrets, secret)
			}
		}
	}
	for _, pod := range d.set.Pods {
		for _, container := range pod.Containers() {
			why := pod.Why
			if pod.By == Runner && container.Name != "agent" {
				why = fmt.Sprintf("%s, container %s", pod.Why, container.Name)
			}
			image := Image{
				Ref: container.Image, PullPolicy: container.ImagePullPolicy, Namespace: pod.Namespace,
				PullSecrets: namesOf(pod.Spec.ImagePullSecrets), Owners: []string{pod.Owner}, Why: why, Runtime: pod.By == Runner,
				NodeSelector: pod.Spec.NodeSelector, Tolerations: pod.Spec.Tolerations,
			}
			if pod.Spec.Affinity != nil && pod.Spec.Affinity.NodeAffinity != nil {
				image.Affinity = pod.Spec.Affinity
			}
			add(image)
		}
	}
	for _, image := range d.set.Images {
		add(image)
	}
	slices.SortStableFunc(images, func(a, b Image) int { return cmp.Compare(a.Ref, b.Ref) })
	d.set.Images, d.set.ImageValues = images, named
}

// imageValues finds the values that name an image, of which there may be several.
func (d *derivation) imageValues() map[string][]string {
	found := map[string][]string{}
	add := func(ref, path string) {
		if !slices.Contains(found[ref], path) {
			found[ref] = append(found[ref], path)
		}
	}
	registry := d.values.text("global", "imageRegistry")
	name := func(image values, path string) {
		ref := cmp.Or(registry, image.text("registry")) + "/" + image.text("repository")
		if path == "global.images.agent" {
			for _, agent := range platform.AgentTypes {
				add(fmt.Sprintf("%s-%s:%s", ref, agent, image.text("tag")), path)
			}
			return
		}
		tag := image.text("tag")
		add(ref+":"+tag, path)
		if digest := image.text("digest"); digest != "" {
			add(ref+"@"+digest, path)
			add(ref+":"+tag+"@"+digest, path)
		}
	}
	images := d.values.table("global", "images")
	for _, key := range slices.Sorted(maps.Keys(images)) {
		if image, ok := images[key].(map[string]any); ok {
			name(image, "global.images."+key)
		}
	}
	name(d.values.table("global", "hooks", "image"), "global.hooks.image")
	if image := d.values.table("global", "backup", "image"); image.text("repository") != "" {
		name(image, "global.backup.image")
	}
	warmed, _ := d.values.at("sandbox", "imageWarmer", "images").([]any)
	for i, image := range warmed {
		image, _ := image.(map[string]any)
		name(image, fmt.Sprintf("sandbox.imageWarmer.images[%d]", i))
	}
	if image := d.set.Operator.Image; image != "" {
		add(image, "cloudnative-pg.image")
	}
	return found
}
