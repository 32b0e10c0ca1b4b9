package images

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/neutree-ai/packaging/internal/gobuild"
	"github.com/neutree-ai/packaging/internal/hooksimage"
	"github.com/neutree-ai/packaging/internal/ociimage"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
	"github.com/neutree-ai/packaging/test/testbed/internal/released"
)

// ReleasedTag is the tag of the stand-ins as they were in the released version.
const ReleasedTag = "v0.2.0-packaging-" + released.Version

// released are the images of the released version: nap-hooks under the tag that the chart of that version names, and the
// stand-ins of the platform's services under a tag of their own, since the tree's are served under the default one.
func (b builder) released(ctx context.Context) ([]recipe, error) {
	dir, err := released.Source(ctx, b.root, b.cacheDir, released.Version)
	if err != nil {
		return nil, fmt.Errorf("images of version %s: %w", released.Version, err)
	}
	key := cache.NewKey().Add("2", runtime.GOARCH, filepath.Base(dir)).String()
	hooks := platform.HooksImage
	hooks.Tag = released.Version
	recipes := []recipe{{
		name: "nap-hooks-" + released.Version, refs: []string{hooks.Ref()}, key: key, slow: "about a minute",
		make: func(ctx context.Context, _ string) (v1.Image, error) {
			return hooksimage.Build(ctx, dir, runtime.GOARCH, "")
		},
	}}

	described, err := readStandins(filepath.Join(dir, "test/standin"))
	if err != nil {
		return nil, err
	}
	services := versionedServices()
	// All of them hold the same program, which is compiled for the first.
	binary := sync.OnceValues(func() (v1.Layer, error) {
		program, err := gobuild.Program{Dir: dir, Package: "./test/standin", Arch: runtime.GOARCH}.Build(ctx)
		if err != nil {
			return nil, err
		}
		return ociimage.Stored.Layer(ociimage.File{Path: standinBinary, Content: program, Mode: 0o755}, tmp())
	})
	for _, one := range described {
		image, found := services[one.Image]
		if !found {
			continue
		}
		delete(services, one.Image)
		image.Tag = ReleasedTag
		recipes = append(recipes, recipe{
			name: "standin-" + one.Image + "-" + ReleasedTag, refs: []string{image.Ref()}, key: key,
			make: func(context.Context, string) (v1.Image, error) {
				program, err := binary()
				if err != nil {
					return nil, err
				}
				return one.build(filepath.Join(dir, "test/standin"), program, variant{})
			},
		})
	}
	if len(services) > 0 {
		return nil, errors.New("version " + released.Version + " has no stand-in of " + fmt.Sprint(slices.Sorted(maps.Keys(services))))
	}
	return recipes, nil
}

// versionedServices are the platform's own services that have a stand-in, which are versioned together.
func versionedServices() map[string]platform.Image {
	services := standedIn()
	tag := services["controlPlane"].Tag
	maps.DeleteFunc(services, func(_ string, image platform.Image) bool { return image.Tag != tag })
	return services
}
