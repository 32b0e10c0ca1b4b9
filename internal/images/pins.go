package images

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteValues writes chart values that pin each image to its digest, and returns the images that no value can pin.
func (l *Lock) WriteValues(w io.Writer) ([]string, error) {
	values := map[string]any{}
	set := func(to any, path ...string) {
		here := values
		for _, key := range path[:len(path)-1] {
			below, _ := here[key].(map[string]any)
			if below == nil {
				below = map[string]any{}
				here[key] = below
			}
			here = below
		}
		here[path[len(path)-1]] = to
	}
	var unpinned []string
	warmed := map[int]any{}
	for _, image := range l.Images {
		tagged, _, _ := strings.Cut(image.Image, "@")
		host, path, _ := strings.Cut(tagged, "/")
		repository, tag, _ := strings.Cut(path, ":")
		pinned := false
		for _, value := range image.Values {
			var number int
			switch {
			case value == "global.images.agent":
				// Its three images have one tag.
				continue
			case value == "cloudnative-pg.image":
				// The operator's chart knows no digest, and writes the tag behind the repository as it is.
				set(tag+"@"+image.Digest, "cloudnative-pg", "image", "tag")
			case scan(value, &number):
				warmed[number] = map[string]any{"registry": host, "repository": repository, "tag": tag, "digest": image.Digest}
			default:
				set(image.Digest, append(strings.Split(value, "."), "digest")...)
			}
			pinned = true
		}
		if !pinned {
			unpinned = append(unpinned, image.Image)
		}
	}
	if len(warmed) > 0 {
		// Helm replaces a list as a whole.
		var all []any
		for i := range len(warmed) {
			if warmed[i] == nil {
				return nil, fmt.Errorf("the lock has no image for %s: write it again with --all", warmedValue(i))
			}
			all = append(all, warmed[i])
		}
		set(all, "sandbox", "imageWarmer", "images")
	}
	const title = "# Digests of the images of %s, by helm neutree images lock --values-only.\n"
	if _, err := fmt.Fprintf(w, title, l.Chart); err != nil {
		return nil, err
	}
	slices.Sort(unpinned)
	return unpinned, encode(w, values)
}

func warmedValue(i int) string { return fmt.Sprintf("sandbox.imageWarmer.images[%d]", i) }

// scan reads the number of an image of the warmer.
func scan(value string, number *int) bool {
	n, err := fmt.Sscanf(value, "sandbox.imageWarmer.images[%d]", number)
	return n == 1 && err == nil && warmedValue(*number) == value
}
