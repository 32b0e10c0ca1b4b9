// Command image builds the image of nap-hooks for every architecture, writes it as an OCI archive and publishes it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/neutree-ai/packaging/internal/hooksimage"
	"github.com/neutree-ai/packaging/internal/ociimage"
	"github.com/neutree-ai/packaging/internal/platform"
)

func main() {
	output := flag.String("output", "", "write an OCI archive to this `file`")
	push := flag.String("push", "", "publish under this `reference`, e.g. registry.example.com/team/nap-hooks:0.1.0")
	root := flag.String("root", ".", "the root of the checkout")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *root, *output, *push); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, root, output, push string) error {
	if output == "" && push == "" {
		return fmt.Errorf("nothing to do: give --output FILE, --push REFERENCE, or both")
	}
	var tag name.Tag
	if push != "" {
		var err error
		if tag, err = name.NewTag(push, name.StrictValidation); err != nil {
			return fmt.Errorf("--push: %w", err)
		}
	}
	index, err := hooksimage.BuildIndex(ctx, root)
	if err != nil {
		return err
	}
	if output != "" {
		if err := ociimage.WriteArchive(output, platform.HooksImage.Ref(), index); err != nil {
			return err
		}
		fmt.Println("wrote", output)
	}
	if push != "" {
		if err := ociimage.Push(ctx, tag, index); err != nil {
			return err
		}
		digest, err := index.Digest()
		if err != nil {
			return fmt.Errorf("push %s: %w", push, err)
		}
		fmt.Printf("published %s@%s\n", push, digest)
	}
	return nil
}
