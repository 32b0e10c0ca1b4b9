package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/neutree-ai/packaging/test/testbed/internal/images"
)

// Unpack writes the image in a tar archive, in Docker's form, as an OCI layout below dir.
func Unpack(archive, ref, dir string) (images.Built, error) {
	fail := func(err error) (images.Built, error) {
		return images.Built{}, fmt.Errorf("read the image in %s: %w", archive, err)
	}
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return fail(err)
	}
	digest, err := image.Digest()
	if err != nil {
		return fail(err)
	}
	built := images.Built{Refs: []string{ref}, Layout: filepath.Join(dir, digest.Hex)}
	if err := os.RemoveAll(built.Layout); err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(built.Layout, 0o755); err != nil {
		return fail(err)
	}
	path, err := layout.Write(built.Layout, empty.Index)
	if err != nil {
		return fail(err)
	}
	if err := path.AppendImage(image); err != nil {
		return fail(err)
	}
	return built, nil
}

// Replace is the list with others added, whose references are taken from the images that had them.
func (l List) Replace(others List) List {
	var taken []string
	for _, other := range others {
		taken = append(taken, other.Refs...)
	}
	var result List
	for _, image := range l {
		refs := slices.DeleteFunc(slices.Clone(image.Refs), func(ref string) bool { return slices.Contains(taken, ref) })
		if len(refs) > 0 {
			result = append(result, images.Built{Refs: refs, Layout: image.Layout})
		}
	}
	return append(result, others...)
}
