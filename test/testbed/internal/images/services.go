package images

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/neutree-ai/packaging/internal/ociimage"
	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
	"github.com/neutree-ai/packaging/test/testbed/internal/debian"
)

// SlapdRef is an LDAP server, for tests of log-in by a directory. The programs are Debian's.
const SlapdRef = "docker.io/library/slapd:debian"

// TraefikRef is a controller of Ingresses and of the Gateway API.
const TraefikRef = "docker.io/library/traefik:v3.6.12"

func (b builder) traefik(ctx context.Context) ([]recipe, error) {
	program, err := b.tool(ctx, "traefik")
	if err != nil {
		return nil, err
	}
	// The tool's path holds the key of what it was built from.
	return []recipe{{
		name: "traefik", refs: []string{TraefikRef}, key: cache.NewKey().Add("2", program).String(),
		make: func(context.Context, string) (v1.Image, error) {
			layer, err := ociimage.Stored.Layer(ociimage.File{Path: "/usr/local/bin/traefik", Source: program, Mode: 0o755}, tmp())
			if err != nil {
				return nil, err
			}
			return ociimage.New(here(), v1.Config{Entrypoint: []string{"/usr/local/bin/traefik"}, WorkingDir: "/"}, layer)
		},
	}}, nil
}

// coturn is the TURN server of Debian's package, under the published image's reference.
func (b builder) coturn(context.Context) ([]recipe, error) {
	published, err := imageWithKey("coturn")
	if err != nil {
		return nil, err
	}
	return []recipe{packaged("coturn", published.Ref())}, nil
}

func (b builder) slapd(context.Context) ([]recipe, error) {
	return []recipe{packaged("slapd", SlapdRef)}, nil
}

// packaged is the recipe of an image that holds a Debian package, with all that it depends on.
func packaged(name, ref string) recipe {
	return recipe{
		name: name, refs: []string{ref}, slow: "about 10 seconds",
		key:  cache.NewKey().Add("2", name, runtime.GOARCH).String(),
		make: func(ctx context.Context, scratch string) (v1.Image, error) { return makePackaged(ctx, scratch, name) },
	}
}

func makePackaged(ctx context.Context, scratch, name string) (v1.Image, error) {
	rootfs := filepath.Join(scratch, "rootfs")
	if err := debian.UnpackTree(ctx, rootfs, "base-files", name); err != nil {
		return nil, err
	}
	for _, unused := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl"} {
		if err := os.RemoveAll(filepath.Join(rootfs, unused)); err != nil {
			return nil, err
		}
	}
	layer, err := ociimage.Stored.FromTar(func(w *tar.Writer) error { return writeTree(w, rootfs) })
	if err != nil {
		return nil, err
	}
	return ociimage.New(here(), v1.Config{
		User: "65534:65534", WorkingDir: "/",
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}, layer)
}
