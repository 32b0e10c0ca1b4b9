package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Mirror copies the images of a lock to a registry, with all platforms, since an index names all of them.
type Mirror struct {
	// From and To say how the registries of either side are reached.
	From, To *Registries
	// Host is the registry to copy to, with a path or without.
	Host string
	// Jobs is how many images are copied at a time.
	Jobs int
	// Done, when set, is called after each image. It may be called by several goroutines at a time.
	Done func(from, to string)
}

// CheckHost says what is wrong with the name of a registry to copy to.
func CheckHost(host string) error {
	registry, path, _ := strings.Cut(strings.TrimSuffix(host, "/"), "/")
	_, err := name.NewRegistry(registry, name.StrictValidation)
	if err == nil && path != "" {
		_, err = name.NewRepository(registry + "/" + path + "/image")
	}
	// A name without a dot would be a folder of Docker Hub.
	if err != nil || strings.Contains(host, "//") || !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		return fmt.Errorf("registry %q: write HOST, HOST:PORT or HOST/PATH, with no scheme", host)
	}
	return nil
}

// Copy copies what is not there yet: blobs and manifests that the registry has are not sent again. What failed is
// reported at the end, as findings.
func (m Mirror) Copy(ctx context.Context, lock *Lock) error {
	refs := make([]string, len(lock.Images))
	for i, image := range lock.Images {
		refs[i] = image.Image
	}
	same := func(i, j int) bool { return lock.Images[i].Digest == lock.Images[j].Digest }
	if found := collisions(refs, m.Host, same); len(found) > 0 {
		return hook.Refuse(found...)
	}
	return each(ctx, m.Jobs, lock.Images, func(ctx context.Context, _ int, image Locked) error {
		if err := m.image(ctx, image); err != nil {
			return err
		}
		if m.Done != nil {
			m.Done(image.Image, At(m.Host, image.Image))
		}
		return nil
	})
}

// image copies one image and what refers to it: signatures, SBOMs and attestations.
func (m Mirror) image(ctx context.Context, image Locked) error {
	from, err := m.From.reference(image.Image)
	if err != nil {
		return err
	}
	to, err := m.To.reference(At(m.Host, image.Image))
	if err != nil {
		return err
	}
	source, target := from.Context(), to.Context()
	if err := m.copy(ctx, source.Digest(image.Digest), to); err != nil {
		return err
	}
	digests := []string{image.Digest}
	for _, content := range image.Platforms {
		if !slices.Contains(digests, content.Digest) {
			digests = append(digests, content.Digest)
		}
	}
	for _, digest := range digests {
		subject := source.Digest(digest)
		index, err := remote.Referrers(subject, m.From.options(ctx)...)
		if err != nil {
			return m.failure(subject, to, err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return m.failure(subject, to, err)
		}
		for _, referrer := range manifest.Manifests {
			one := referrer.Digest.String()
			if err := m.copy(ctx, source.Digest(one), target.Digest(one)); err != nil {
				return err
			}
		}
		// What cosign writes where registries have no referrers.
		for _, suffix := range []string{"sig", "att", "sbom"} {
			tag := strings.Replace(digest, ":", "-", 1) + "." + suffix
			_, err := remote.Head(source.Tag(tag), m.From.options(ctx)...)
			if isMissing(err) {
				continue
			}
			if err != nil {
				return m.failure(source.Tag(tag), to, err)
			}
			if err := m.copy(ctx, source.Tag(tag), target.Tag(tag)); err != nil {
				return err
			}
		}
	}
	return nil
}

// copy copies one manifest with all that it names, unless it is there.
func (m Mirror) copy(ctx context.Context, from, to name.Reference) error {
	got, err := remote.Get(from, m.From.options(ctx)...)
	if err != nil {
		return m.failure(from, to, err)
	}
	there, err := remote.Head(to, m.To.options(ctx)...)
	if err == nil && there.Digest == got.Digest {
		return nil
	}
	var pushed remote.Taggable = got
	switch {
	case got.MediaType.IsIndex():
		pushed, err = got.ImageIndex()
	case got.MediaType.IsImage():
		var image v1.Image
		image, err = got.Image()
		pushed = image
	}
	if err != nil {
		return m.failure(from, to, err)
	}
	if err := remote.Push(to, pushed, m.To.options(ctx)...); err != nil {
		return m.failure(from, to, err)
	}
	return nil
}

func isMissing(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// failure explains why an image could not be copied, by the side that failed.
func (m Mirror) failure(from, to name.Reference, err error) error {
	target := to.Context().RegistryStr()
	if hostOf(err) != target {
		return finding.List{m.From.failure(shown(from), err)}
	}
	f := m.To.failure(shown(to), err)
	if isMissing(err) {
		f.ID, f.Found = finding.ImagesRegistry, fmt.Sprintf("%s: registry %s has no place for it", shown(to), target)
		f.Fix = "create the project or the repository there"
	}
	return finding.List{f}
}

// shown is a reference with the name of Docker Hub that people know.
func shown(ref name.Reference) string {
	if rest, hub := strings.CutPrefix(ref.Name(), name.DefaultRegistry+"/"); hub {
		return "docker.io/" + rest
	}
	return ref.Name()
}

// hostOf is the host that was asked when an error happened, empty where that is not known.
func hostOf(err error) string {
	var answer *transport.Error
	if errors.As(err, &answer) && answer.Request != nil {
		return answer.Request.URL.Host
	}
	var asked *url.Error
	if errors.As(err, &asked) {
		if address, err := url.Parse(asked.URL); err == nil {
			return address.Host
		}
	}
	return ""
}

// WriteMirrorValues writes the chart values with which a release pulls from the registry that has the copies.
func (l *Lock) WriteMirrorValues(w io.Writer, host string) error {
	host = strings.TrimSuffix(host, "/")
	values := map[string]any{"global": map[string]any{"imageRegistry": host}}
	for _, image := range l.Images {
		if slices.Contains(image.Values, "cloudnative-pg.image") {
			// The operator's chart has no value for the registry alone.
			repository, _, _ := strings.Cut(pathOf(image.Image), ":")
			values["cloudnative-pg"] = map[string]any{"image": map[string]any{"repository": host + "/" + repository}}
		}
	}
	return encode(w, values)
}
