// Package registry is the image registry of the testbed, which stands for the public ones.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/neutree-ai/packaging/test/testbed/internal/images"
)

// List is what a registry serves: images in OCI layouts, with the references they answer to.
type List []images.Built

// Write keeps the list in a file, which is replaced in one step: the registry may start and read it at any time.
func (l List) Write(path string) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write the list of images: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the list of images: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write the list of images: %w", err)
	}
	return nil
}

// ReadList reads a list of images.
func ReadList(path string) (List, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the list of images: %w", err)
	}
	var l List
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("read the list of images %s: %w", path, err)
	}
	return l, nil
}

// New is a registry that holds the listed images and keeps what is pushed to it in dir. The images' layers are read
// where they are.
func New(dir string, list List) (http.Handler, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the registry's directory: %w", err)
	}
	disk, ok := registry.NewDiskBlobHandler(dir).(store)
	if !ok {
		return nil, errors.New("the registry's disk store cannot be written")
	}
	blobs := &blobs{store: disk, layouts: list}
	return registry.New(registry.WithBlobHandler(blobs), registry.Logger(log.New(io.Discard, "", 0))), nil
}

type store interface {
	registry.BlobHandler
	registry.BlobStatHandler
	registry.BlobPutHandler
}

// blobs looks into the layouts for what was not pushed.
type blobs struct {
	store
	layouts List
}

// Get opens a blob.
func (b *blobs) Get(ctx context.Context, repo string, hash v1.Hash) (io.ReadCloser, error) {
	if path := b.find(hash); path != "" {
		return os.Open(path)
	}
	return b.store.Get(ctx, repo, hash)
}

// Stat is a blob's size.
func (b *blobs) Stat(ctx context.Context, repo string, hash v1.Hash) (int64, error) {
	if path := b.find(hash); path != "" {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	return b.store.Stat(ctx, repo, hash)
}

func (b *blobs) find(hash v1.Hash) string {
	for _, image := range b.layouts {
		path := filepath.Join(image.Layout, "blobs", hash.Algorithm, hash.Hex)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
	return ""
}

// Push makes the registry at addr answer to all references of the images.
func Push(ctx context.Context, addr string, list List) error {
	for _, image := range list {
		if err := push(ctx, addr, image); err != nil {
			return err
		}
	}
	return nil
}

func push(ctx context.Context, addr string, image images.Built) error {
	index, err := layout.ImageIndexFromPath(image.Layout)
	if err != nil {
		return fmt.Errorf("read the image layout %s: %w", image.Layout, err)
	}
	content, err := taggable(index)
	if err != nil {
		return fmt.Errorf("read the image layout %s: %w", image.Layout, err)
	}
	for _, ref := range image.Refs {
		to, err := mirrorTag(addr, ref)
		if err != nil {
			return err
		}
		if err := write(ctx, to, content); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
	}
	return nil
}

// taggable is a layout's only image or index, or all of it when there are several.
func taggable(index v1.ImageIndex) (remote.Taggable, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return index, nil
	}
	only := manifest.Manifests[0]
	if only.MediaType.IsIndex() {
		return index.ImageIndex(only.Digest)
	}
	return index.Image(only.Digest)
}

func write(ctx context.Context, to name.Reference, content remote.Taggable) error {
	switch content := content.(type) {
	case v1.ImageIndex:
		return remote.WriteIndex(to, content, remote.WithContext(ctx))
	case v1.Image:
		return remote.Write(to, content, remote.WithContext(ctx))
	}
	return fmt.Errorf("neither an image nor an index: %T", content)
}

// mirrorTag is where the registry at addr keeps a reference: a mirror is asked for the repository without its
// registry's name.
func mirrorTag(addr, ref string) (name.Reference, error) {
	parsed, err := name.NewTag(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w", ref, err)
	}
	repository, err := name.NewRepository(addr+"/"+parsed.RepositoryStr(), name.Insecure)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w", ref, err)
	}
	return repository.Tag(parsed.TagStr()), nil
}
