package ociimage

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// New makes an image for a platform that runs as config says, out of layers.
func New(platform v1.Platform, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = platform.OS, platform.Architecture, config
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	return image, nil
}

// Index makes one index of the same image for several platforms.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		file, err := image.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("make image index: %w", err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: file.Platform()},
		})
	}
	return index, nil
}

// Push publishes index under tag, with the credentials that `docker login` and its like have stored.
func Push(ctx context.Context, tag name.Tag, index v1.ImageIndex) error {
	err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	var answer *transport.Error
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("push %s: log in with an account that may push there, e.g. by docker login %s: %w", tag, tag.RegistryStr(), err)
	}
	if err != nil {
		return fmt.Errorf("push %s: %w", tag, err)
	}
	return nil
}

// WriteArchive writes index as an OCI archive, a tar of an OCI layout, in which it is called ref. The file is whole or
// not there.
func WriteArchive(file, ref string, index v1.ImageIndex) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), ".oci-")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer os.RemoveAll(dir)

	blobs := filepath.Join(dir, "layout")
	path, err := layout.Write(blobs, empty.Index)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	// The first is what skopeo and podman look for, the second containerd.
	names := map[string]string{"org.opencontainers.image.ref.name": ref, "io.containerd.image.name": ref}
	if err := path.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	whole := filepath.Join(dir, "archive")
	if err := tarOf(blobs, whole); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(whole, file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func tarOf(dir, target string) (err error) {
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	defer func() {
		if closed := file.Close(); err == nil {
			err = closed
		}
	}()
	archive := tar.NewWriter(file)
	walk := func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		inside := strings.TrimPrefix(path, dir)
		if entry.IsDir() {
			return File{Path: inside, Mode: fs.ModeDir | 0o755}.write(archive)
		}
		return File{Path: inside, Source: path, Mode: 0o644}.write(archive)
	}
	if err := filepath.WalkDir(dir, walk); err != nil {
		return err
	}
	return archive.Close()
}
