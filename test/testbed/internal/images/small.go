package images

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/neutree-ai/packaging/internal/gobuild"
	"github.com/neutree-ai/packaging/internal/hooksimage"
	"github.com/neutree-ai/packaging/internal/ociimage"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
	"github.com/neutree-ai/packaging/test/testbed/internal/debian"
)

const (
	// PauseRef is the image of every pod's sandbox.
	PauseRef = "registry.k8s.io/pause:3.10"
	// BusyboxRef is a shell with the usual programs, for helper and test pods. The programs are Debian's.
	BusyboxRef = "docker.io/library/busybox:1.35"
)

// tmp is the directory that programs expect in every image.
func tmp() ociimage.File {
	return ociimage.File{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777}
}

// finished is the recipe of an image that is made already, since that costs next to nothing.
func finished(name string, image v1.Image, refs ...string) (recipe, error) {
	digest, err := image.Digest()
	if err != nil {
		return recipe{}, fmt.Errorf("image %s: %w", name, err)
	}
	return recipe{
		name: name, refs: refs, key: digest.Hex[:16],
		make: func(context.Context, string) (v1.Image, error) { return image, nil },
	}, nil
}

func (b builder) pause(ctx context.Context) ([]recipe, error) {
	source := gobuild.Program{
		Dir: filepath.Join(b.root, "test/testbed"), Package: "./internal/images/pause", Arch: runtime.GOARCH, Keep: b.dir,
	}
	program, err := source.Build(ctx)
	if err != nil {
		return nil, err
	}
	layer, err := ociimage.Stored.Layer(ociimage.File{Path: "/pause", Content: program, Mode: 0o755})
	if err != nil {
		return nil, err
	}
	image, err := ociimage.New(here(), v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}, layer)
	if err != nil {
		return nil, err
	}
	// The chart has another version of it in its own pods.
	own, err := imageWithKey("pause")
	if err != nil {
		return nil, err
	}
	made, err := finished("pause", image, PauseRef, own.Ref())
	return []recipe{made}, err
}

func (b builder) hooks(ctx context.Context) ([]recipe, error) {
	image, err := hooksimage.Build(ctx, b.root, runtime.GOARCH, b.dir)
	if err != nil {
		return nil, err
	}
	made, err := finished("nap-hooks", image, platform.HooksImage.Ref())
	return []recipe{made}, err
}

func (b builder) operator(ctx context.Context) ([]recipe, error) {
	program, err := b.tool(ctx, "cnpg-manager")
	if err != nil {
		return nil, err
	}
	// The tool's path holds the key of what it was built from.
	return []recipe{{
		name: "cloudnative-pg", refs: []string{platform.OperatorImage.Ref()},
		key: cache.NewKey().Add("2", program).String(),
		make: func(context.Context, string) (v1.Image, error) {
			// The operator looks for itself under a name with its architecture, to copy itself into the database's pods.
			manager := "/operator/manager_" + runtime.GOARCH
			layer, err := ociimage.Stored.Layer(
				ociimage.File{Path: manager, Source: program, Mode: 0o755},
				ociimage.File{Path: "/manager", Link: strings.TrimPrefix(manager, "/"), Mode: fs.ModeSymlink},
				tmp(),
			)
			if err != nil {
				return nil, err
			}
			return ociimage.New(here(), v1.Config{Entrypoint: []string{"/manager"}, User: "10001:10001", WorkingDir: "/"}, layer)
		},
	}}, nil
}

func (b builder) busybox(context.Context) ([]recipe, error) {
	return []recipe{{
		name: "busybox", refs: []string{BusyboxRef},
		key: cache.NewKey().Add("2", runtime.GOARCH).String(),
		make: func(ctx context.Context, scratch string) (v1.Image, error) {
			if err := debian.Unpack(ctx, scratch, "busybox-static"); err != nil {
				return nil, err
			}
			program, err := busyboxProgram(scratch)
			if err != nil {
				return nil, err
			}
			applets, err := exec.CommandContext(ctx, program, "--list").Output()
			if err != nil {
				return nil, fmt.Errorf("ask %s for its applets: %w", program, err)
			}
			files := []ociimage.File{
				{Path: "/bin/busybox", Source: program, Mode: 0o755},
				{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"), Mode: 0o644},
				{Path: "/etc/group", Content: []byte("root:x:0:\nnogroup:x:65534:\n"), Mode: 0o644},
				{Path: "/root", Mode: fs.ModeDir | 0o700},
				tmp(),
			}
			for _, applet := range strings.Fields(string(applets)) {
				if applet != "busybox" {
					files = append(files, ociimage.File{Path: "/bin/" + applet, Link: "busybox", Mode: fs.ModeSymlink})
				}
			}
			layer, err := ociimage.Stored.Layer(files...)
			if err != nil {
				return nil, err
			}
			return ociimage.New(here(), v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}}, layer)
		},
	}}, nil
}

// busyboxProgram finds the program below dir: Debian moved it from /bin to /usr/bin.
func busyboxProgram(dir string) (string, error) {
	for _, place := range []string{"usr/bin/busybox", "bin/busybox"} {
		path := filepath.Join(dir, place)
		found, err := cache.Exists(path)
		if err != nil {
			return "", err
		}
		if found {
			return path, nil
		}
	}
	return "", fmt.Errorf("package busybox-static holds no busybox")
}
