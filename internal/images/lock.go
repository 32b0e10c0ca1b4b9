package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// LockVersion is the version of the format of lock files.
const LockVersion = 1

// Lock is the content of the images that an installation pulls, by digests.
type Lock struct {
	// Version is LockVersion.
	Version int   `json:"version"`
	Chart   Chart `json:"chart"`
	// Platforms are those that were asked for, e.g. "linux/amd64".
	Platforms []string `json:"platforms"`
	Images    []Locked `json:"images"`
}

// Locked is one image and its content.
type Locked struct {
	// Image is the full reference that the chart names.
	Image string `json:"image"`
	// Values are the chart values that name it.
	Values []string `json:"values,omitempty"`
	// Digest is that of the index, or of the manifest of an image for one platform.
	Digest string `json:"digest"`
	// Platforms are those of the lock that the image is for.
	Platforms []LockedPlatform `json:"platforms"`
}

// LockedPlatform is the content of an image for one platform.
type LockedPlatform struct {
	Platform string `json:"platform"`
	Digest   string `json:"digest"`
	// Size is the number of bytes to pull: of the manifest, the configuration and the layers.
	Size int64 `json:"size"`
}

// Resolver finds the content of images.
type Resolver struct {
	Registries *Registries
	Platforms  []string
	// Jobs is how many images are asked for at a time.
	Jobs int
}

// Lock asks registries for the digests of all images. What is wrong with any of them is reported at once, as findings.
func (r Resolver) Lock(ctx context.Context, list *List) (*Lock, error) {
	var platforms []v1.Platform
	for _, text := range r.Platforms {
		p, err := v1.ParsePlatform(text)
		if err != nil || p.OS == "" || p.Architecture == "" {
			return nil, fmt.Errorf("--platform %q: write OS/ARCHITECTURE, such as linux/amd64", text)
		}
		platforms = append(platforms, *p)
	}
	lock := &Lock{Version: LockVersion, Chart: list.Chart, Platforms: r.Platforms}
	lock.Images = make([]Locked, len(list.Images))
	err := each(ctx, r.Jobs, list.Images, func(ctx context.Context, i int, image Image) error {
		var err error
		lock.Images[i], err = r.resolve(ctx, image, platforms)
		return err
	})
	if err != nil {
		return nil, err
	}
	return lock, nil
}

// resolve finds the content of one image. Errors that a person has to fix are findings.
func (r Resolver) resolve(ctx context.Context, image Image, platforms []v1.Platform) (Locked, error) {
	locked := Locked{Image: image.Ref, Values: valuesOf(image)}
	ref, err := r.Registries.reference(image.Ref)
	if err != nil {
		return locked, err
	}
	options := r.Registries.options(ctx)
	got, err := remote.Get(ref, options...)
	if err != nil {
		return locked, finding.List{r.Registries.failure(image.Ref, err)}
	}
	locked.Digest = got.Digest.String()
	contents := map[string]v1.Descriptor{}
	if got.MediaType.IsIndex() {
		index, err := got.ImageIndex()
		if err != nil {
			return locked, finding.List{r.Registries.failure(image.Ref, err)}
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return locked, finding.List{r.Registries.failure(image.Ref, err)}
		}
		for _, descriptor := range manifest.Manifests {
			// Attestations are of an unknown platform.
			if descriptor.Platform != nil {
				contents[descriptor.Platform.String()] = descriptor
			}
		}
	} else {
		single, err := got.Image()
		if err != nil {
			return locked, finding.List{r.Registries.failure(image.Ref, err)}
		}
		file, err := single.ConfigFile()
		if err != nil {
			return locked, finding.List{r.Registries.failure(image.Ref, err)}
		}
		contents[file.Platform().String()] = got.Descriptor
	}
	known := platform.Architectures(image.Ref)
	for _, wanted := range platforms {
		at := slices.IndexFunc(slices.Sorted(maps.Keys(contents)), func(text string) bool {
			p, err := v1.ParsePlatform(text)
			return err == nil && p.Satisfies(wanted)
		})
		if at < 0 {
			// The chart keeps the pods of such an image on nodes that it is for.
			if len(known) > 0 && !slices.Contains(known, wanted.Architecture) {
				continue
			}
			has := strings.Join(slices.Sorted(maps.Keys(contents)), ", ")
			return locked, finding.List{{ID: finding.ImagesArchitecture, Severity: finding.Error,
				Object: "image " + image.Ref, Value: strings.Join(locked.Values, ", "),
				Found: fmt.Sprintf("%s is for %s, not for %s", image.Ref, has, wanted),
				Fix:   "leave that platform out of --platform, or name another image"}}
		}
		descriptor := contents[slices.Sorted(maps.Keys(contents))[at]]
		child, err := remote.Image(ref.Context().Digest(descriptor.Digest.String()), options...)
		if err != nil {
			return locked, finding.List{r.Registries.failure(image.Ref, err)}
		}
		size, err := bytesOf(child)
		if err != nil {
			return locked, finding.List{r.Registries.failure(image.Ref, err)}
		}
		locked.Platforms = append(locked.Platforms, LockedPlatform{wanted.String(), descriptor.Digest.String(), size})
	}
	return locked, nil
}

func bytesOf(image v1.Image) (int64, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	size, err := image.Size()
	if err != nil {
		return 0, err
	}
	size += manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}

func valuesOf(image Image) []string {
	var values []string
	for _, use := range image.Uses {
		if use.Value != "" && !slices.Contains(values, use.Value) {
			values = append(values, use.Value)
		}
	}
	slices.Sort(values)
	return values
}

// Write writes a lock as YAML.
func (l *Lock) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "# Images of %s, by helm neutree images lock.\n", l.Chart); err != nil {
		return err
	}
	return encode(w, l)
}

// ReadLock reads a lock file, which can be YAML or JSON.
func ReadLock(path string) (*Lock, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the lock: %w", err)
	}
	lock := &Lock{}
	if err := yaml.UnmarshalStrict(raw, lock); err != nil {
		return nil, fmt.Errorf("%s is no lock: %w; write one by helm neutree images lock", path, err)
	}
	if lock.Version != LockVersion {
		return nil, fmt.Errorf("%s is a lock of format %d, and this version of the plugin reads format %d: "+
			"write it again by helm neutree images lock", path, lock.Version, LockVersion)
	}
	return lock, lock.check(path)
}

// check holds what a file says against what can be.
func (l *Lock) check(path string) error {
	if len(l.Images) == 0 {
		return fmt.Errorf("%s locks no image: write it again by helm neutree images lock", path)
	}
	seen := map[string]bool{}
	for _, image := range l.Images {
		full, err := fullName(image.Image)
		if err == nil && full != image.Image {
			err = errors.New("it is not a full name")
		}
		if err == nil && seen[full] {
			err = errors.New("it is locked twice")
		}
		seen[full] = true
		digests := []string{image.Digest}
		for _, p := range image.Platforms {
			digests = append(digests, p.Digest)
		}
		for _, digest := range digests {
			if _, wrong := v1.NewHash(digest); err == nil && wrong != nil {
				err = fmt.Errorf("digest %q: %w", digest, wrong)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: image %q: %w; write the lock again by helm neutree images lock", path, image.Image, err)
		}
	}
	return nil
}

// Fits says what is wrong with a lock for a list: it is of another chart, or images are missing in it.
func (l *Lock) Fits(list *List) error {
	if l.Chart != list.Chart {
		return hook.Refusef(finding.ImagesLock, "write a lock for this chart by helm neutree images lock",
			"the lock is of chart %s, not of %s", l.Chart, list.Chart)
	}
	var missing finding.List
	for _, image := range list.Images {
		if !slices.ContainsFunc(l.Images, func(locked Locked) bool { return locked.Image == image.Ref }) {
			missing = append(missing, finding.Finding{ID: finding.ImagesLock, Severity: finding.Error,
				Object: "image " + image.Ref, Value: strings.Join(valuesOf(image), ", "),
				Found: fmt.Sprintf("%s is not in the lock", image.Ref),
				Fix:   "write the lock again with the values of this release"})
		}
	}
	if len(missing) > 0 {
		slices.SortFunc(missing, func(a, b finding.Finding) int { return cmp.Compare(a.Found, b.Found) })
		return hook.Refuse(missing...)
	}
	return nil
}
