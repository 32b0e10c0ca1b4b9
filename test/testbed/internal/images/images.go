// Package images makes, without a container engine, every image that the testbed serves to a machine that cannot pull
// the published ones: the project's own, CloudNativePG's operator and PostgreSQL from their source or from Debian's
// packages, and stand-ins for the platform's services.
package images

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"golang.org/x/sync/errgroup"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/testbed/internal/cache"
	"github.com/neutree-ai/packaging/test/testbed/internal/source"
	"github.com/neutree-ai/packaging/test/testbed/internal/tools"
)

// staleAfter is how long an image that is quickly made is kept after its last use, long enough for whoever asked for it
// to have pushed it. Every change of the source makes new ones.
const staleAfter = time.Hour

// Built is one finished image.
type Built struct {
	// Refs are the public references it is served under.
	Refs []string
	// Layout is an OCI layout directory that holds this image alone.
	Layout string
}

// recipe tells how to make one image.
type recipe struct {
	// name is short, for the cache and the log.
	name string
	// refs are the public references the image is served under.
	refs []string
	// key covers everything the image is made from.
	key string
	// slow says how long the making takes where that is worth telling, e.g. "about 2 minutes".
	slow string
	// make makes the image. What it needs on disk until the image is written goes into scratch.
	make func(ctx context.Context, scratch string) (v1.Image, error)
}

// Set says which images are wanted.
type Set string

const (
	// ForDemo are those that a cluster and the platform on it need.
	ForDemo Set = "demo"
	// ForTests are those that make test needs: some that the platform works with as well.
	ForTests Set = "tests"
	// ForMatrix are all: make matrix needs some that take long to make.
	ForMatrix Set = "matrix"
)

// ParseSet reads a set's name.
func ParseSet(name string) (Set, error) {
	if set := Set(name); set == ForDemo || set.forTests() {
		return set, nil
	}
	return "", fmt.Errorf("no set of images is called %q: give %s, %s or %s", name, ForDemo, ForTests, ForMatrix)
}

// forTests says whether the set has what only tests need.
func (s Set) forTests() bool { return s == ForTests || s == ForMatrix }

// Build returns every image of a set. What is not in cacheDir yet is made there first.
func Build(ctx context.Context, log *slog.Logger, cacheDir string, set Set) ([]Built, error) {
	root, err := source.Root()
	if err != nil {
		return nil, err
	}
	tool := func(ctx context.Context, name string) (string, error) {
		paths, err := tools.Build(ctx, log, cacheDir, name)
		return paths[name], err
	}
	b := builder{log: log, root: root, cacheDir: cacheDir, dir: filepath.Join(cacheDir, "images"), tool: tool}
	unlock, err := cache.Lock(ctx, b.dir, "build")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := cache.Sweep(b.dir); err != nil {
		return nil, err
	}
	// Some wait for the network, the others compile.
	var database, others []Built
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		database, err = b.all(groupContext, b.slow(set))
		return err
	})
	group.Go(func() (err error) {
		others, err = b.all(groupContext, b.quick(set))
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return append(others, database...), nil
}

type builder struct {
	log *slog.Logger
	// root is the checkout's.
	root string
	// cacheDir is the whole cache, dir the images' part of it.
	cacheDir string
	dir      string
	// tool gives the path of a tool, which it builds where it must.
	tool func(ctx context.Context, name string) (string, error)
}

// plan gives the recipes of some images.
type plan func(context.Context) ([]recipe, error)

// slow are the plans whose images wait for downloads of Debian's packages.
func (b builder) slow(set Set) []plan {
	plans := []plan{b.postgresql, b.coturn}
	if set.forTests() {
		plans = append(plans, b.slapd)
	}
	if set == ForMatrix {
		plans = append(plans, b.newerPostgresql)
	}
	return plans
}

// quick are the other plans.
func (b builder) quick(set Set) []plan {
	plans := []plan{b.pause, b.busybox, b.hooks, b.standins, b.operator}
	if set.forTests() {
		plans = append(plans, b.traefik, b.released)
	}
	return plans
}

// all makes the images of each plan in turn.
func (b builder) all(ctx context.Context, plans []plan) ([]Built, error) {
	var all []Built
	for _, plan := range plans {
		recipes, err := plan(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range recipes {
			built, err := b.one(ctx, r)
			if err != nil {
				return nil, err
			}
			all = append(all, built)
		}
	}
	return all, nil
}

func (b builder) one(ctx context.Context, r recipe) (Built, error) {
	path := filepath.Join(b.dir, r.name+"-"+r.key)
	err := cache.Dir(path, func(temporary string) error {
		if r.slow != "" {
			b.log.Info(fmt.Sprintf("making the image %s (%s the first time)…", r.name, r.slow))
		}
		start := time.Now()
		if err := write(ctx, r, temporary); err != nil {
			return err
		}
		if r.slow != "" {
			b.log.Info(fmt.Sprintf("made the image %s in %s", r.name, time.Since(start).Round(time.Second)))
		}
		return nil
	})
	if err != nil {
		return Built{}, fmt.Errorf("image %s: %w", r.name, err)
	}
	if r.slow == "" {
		if err := cache.Expire(b.dir, r.name, r.key, staleAfter); err != nil {
			return Built{}, fmt.Errorf("image %s: %w", r.name, err)
		}
	}
	return Built{Refs: r.refs, Layout: path}, nil
}

func write(ctx context.Context, r recipe, dir string) error {
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	image, err := r.make(ctx, scratch)
	if err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendImage(image); err != nil {
		return err
	}
	return os.RemoveAll(scratch)
}

// here is the platform of the machine, and so of the images.
func here() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// imageWithKey is the platform's image that the chart's values know by key.
func imageWithKey(key string) (platform.Image, error) {
	for _, image := range slices.Concat(platform.Images(), platform.ModuleImages()) {
		if image.Key == key {
			return image, nil
		}
	}
	return platform.Image{}, fmt.Errorf("the platform has no image called %s", key)
}
