package images

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/plain"
)

// formats are the names of the formats that Write knows.
var formats = []string{"text", "wide", "json", "crane", "skopeo", "hauler"}

// Formats are the formats of a list.
func Formats() []string { return append([]string(nil), formats...) }

// Format says how a list is written.
type Format struct {
	// Name is one of Formats.
	Name string
	// To is the registry that the commands of the format crane copy to.
	To string
}

// Check says what is wrong with a format, before any work.
func (f Format) Check() error {
	for _, known := range formats {
		if f.Name != known {
			continue
		}
		if f.Name == "crane" && f.To == "" {
			return fmt.Errorf("--output crane writes commands that copy images: name the registry to copy to with --to HOST")
		}
		if f.Name != "crane" && f.To != "" {
			return fmt.Errorf("--to is for --output crane alone, not for %s", f.Name)
		}
		return nil
	}
	return fmt.Errorf("--output must be one of %s, not %q", strings.Join(formats, ", "), f.Name)
}

// Write writes a list.
func (l *List) Write(w io.Writer, f Format) error {
	if err := f.Check(); err != nil {
		return err
	}
	switch f.Name {
	case "wide":
		return writeUses(w, l.Images)
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(l)
	case "crane":
		refs := make([]string, len(l.Images))
		for i, image := range l.Images {
			refs[i] = image.Ref
		}
		// A tag with a digest and without is taken for the same image: what it is without is not known here.
		same := func(i, j int) bool {
			one, pinned, _ := strings.Cut(refs[i], "@")
			other, digest, _ := strings.Cut(refs[j], "@")
			return one == other && (pinned == "" || digest == "" || pinned == digest)
		}
		if found := collisions(refs, f.To, same); len(found) > 0 {
			return hook.Refuse(found...)
		}
		return l.each(w, func(ref string) string { return "crane copy " + ref + " " + At(f.To, ref) })
	case "skopeo":
		return l.skopeo(w)
	case "hauler":
		return l.hauler(w)
	}
	return l.each(w, func(ref string) string { return ref })
}

func (l *List) each(w io.Writer, line func(ref string) string) error {
	for _, image := range l.Images {
		if _, err := fmt.Fprintln(w, line(image.Ref)); err != nil {
			return err
		}
	}
	return nil
}

// At is an image's reference in the registry that mirrors it. A copy of a tag that is pinned to a digest has the tag,
// since registries delete what has none.
func At(registry, ref string) string {
	_, path, _ := strings.Cut(ref, "/")
	tagged, digest, pinned := strings.Cut(path, "@")
	if pinned && !strings.Contains(tagged, ":") {
		tagged += "@" + digest
	}
	return strings.TrimSuffix(registry, "/") + "/" + tagged
}

// collisions are the findings of images that would have the same name in a registry that mirrors them: the path without
// the registry, and the tag. same says that two of them have the same content.
func collisions(refs []string, registry string, same func(i, j int) bool) finding.List {
	var found finding.List
	first := map[string]int{}
	for i, ref := range refs {
		at := At(registry, ref)
		j, taken := first[at]
		if !taken {
			first[at] = i
			continue
		}
		if same(i, j) {
			continue
		}
		found = append(found, finding.Finding{ID: finding.ImagesCollision, Severity: finding.Error, Object: "image " + ref,
			Found: fmt.Sprintf("%s and %s would both be %s", refs[j], ref, at),
			Why:   "one of them would be replaced by the other",
			Fix: "copy one of them to another path or tag yourself, name that one in the values of the release, and list or " +
				"lock its images again"})
	}
	return found
}

// writeUses writes a table of what runs each image.
func writeUses(w io.Writer, images []Image) error {
	table := tabwriter.NewWriter(plain.Writer(w), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tPULLED\tBY\tFOR\tVALUE")
	for _, image := range images {
		for _, use := range image.Uses {
			when := "by the release"
			if use.RunTime {
				when = "at run time"
			}
			value := use.Value
			if value == "" {
				value = "-"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", image.Ref, when, use.Object, use.Component, value)
		}
	}
	return table.Flush()
}

// skopeo writes the file that "skopeo sync --src yaml" reads: repositories and their tags by registry.
func (l *List) skopeo(w io.Writer) error {
	type registry struct {
		Images map[string][]string `json:"images"`
	}
	registries := map[string]registry{}
	for _, image := range l.Images {
		host, path, _ := strings.Cut(image.Ref, "/")
		repository, version, pinned := strings.Cut(path, "@")
		repository, tag, _ := strings.Cut(repository, ":")
		if !pinned {
			version = tag
		}
		if _, known := registries[host]; !known {
			registries[host] = registry{Images: map[string][]string{}}
		}
		registries[host].Images[repository] = append(registries[host].Images[repository], version)
	}
	return encode(w, registries)
}

// hauler writes a manifest of hauler's kind Images.
func (l *List) hauler(w io.Writer) error {
	type named struct {
		Name string `json:"name"`
	}
	manifest := map[string]any{
		"apiVersion": "content.hauler.cattle.io/v1",
		"kind":       "Images",
		"metadata":   named{Name: l.Chart.Name},
	}
	var images []named
	for _, image := range l.Images {
		images = append(images, named{image.Ref})
	}
	manifest["spec"] = map[string]any{"images": images}
	return encode(w, manifest)
}

func encode(w io.Writer, document any) error {
	raw, err := yaml.Marshal(document)
	if err != nil {
		return err
	}
	_, err = w.Write(raw)
	return err
}
