// Package hooksimage builds the image of nap-hooks out of this checkout: the static binary and nothing else.
package hooksimage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/gobuild"
	"github.com/neutree-ai/packaging/internal/ociimage"
)

// Architectures are what the image is published for.
var Architectures = []string{"amd64", "arm64"}

// user is the one that the chart's pods run as, which has no entry in a password file.
const user = "65532:65532"

// Version is the version of this project, which plugin.yaml in the checkout's root names.
func Version(root string) (string, error) {
	path := filepath.Join(root, "plugin.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("find the project's version: %w", err)
	}
	var manifest struct {
		Version string `json:"version"`
	}
	if err := yaml.Unmarshal(content, &manifest); err != nil {
		return "", fmt.Errorf("find the project's version in %s: %w", path, err)
	}
	if manifest.Version == "" {
		return "", fmt.Errorf("find the project's version: %s has no version", path)
	}
	return manifest.Version, nil
}

// Build compiles nap-hooks of the checkout at root for linux and arch, and makes its image. The program stays in keep, if
// that is given, as gobuild.Program says; then the image stays on this machine too.
func Build(ctx context.Context, root, arch, keep string) (v1.Image, error) {
	version, err := Version(root)
	if err != nil {
		return nil, err
	}
	program := gobuild.Program{
		Dir: root, Package: "./cmd/nap-hooks", Arch: arch, Keep: keep,
		Stamps: map[string]string{"github.com/neutree-ai/packaging/internal/version.version": version},
	}
	binary, err := program.Build(ctx)
	if err != nil {
		return nil, err
	}
	compression := ociimage.Small
	if keep != "" {
		compression = ociimage.Stored
	}
	layer, err := compression.Layer(ociimage.File{Path: "/nap-hooks", Content: binary, Mode: 0o755})
	if err != nil {
		return nil, fmt.Errorf("image of nap-hooks for %s: %w", arch, err)
	}
	config := v1.Config{
		User:       user,
		Entrypoint: []string{"/nap-hooks"},
		WorkingDir: "/",
		Env:        []string{"PATH=/"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "nap-hooks",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source":   "https://github.com/neutree-ai/packaging",
		},
	}
	image, err := ociimage.New(v1.Platform{OS: "linux", Architecture: arch}, config, layer)
	if err != nil {
		return nil, fmt.Errorf("image of nap-hooks for %s: %w", arch, err)
	}
	return image, nil
}

// BuildIndex builds the image for each of Architectures and makes one index of them.
func BuildIndex(ctx context.Context, root string) (v1.ImageIndex, error) {
	images := make([]v1.Image, 0, len(Architectures))
	for _, arch := range Architectures {
		image, err := Build(ctx, root, arch, "")
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return ociimage.Index(images...)
}
