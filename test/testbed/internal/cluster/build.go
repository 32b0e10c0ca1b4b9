package cluster

import (
	"context"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/neutree-ai/packaging/test/testbed/internal/images"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/registry"
	"github.com/neutree-ai/packaging/test/testbed/internal/tools"
)

// Versions are the minor versions of Kubernetes that can be brought up, the default one first.
func Versions() []string { return []string{"1.34", "1.28", "1.37"} }

// programs are the tools that a cluster of a version runs.
func programs(version string) []string {
	names := []string{"etcd", "coredns"}
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		names = append(names, "kubernetes-"+version+"/"+program)
	}
	if wantsContainerd2(version) {
		names = append(names, "containerd-2/containerd", "containerd-2/containerd-shim-runc-v2")
	}
	return names
}

// wantsContainerd2 reports whether the kubelet of a version refuses containerd 1, which is Debian's: 1.36 and later ask
// the runtime for its cgroup driver.
func wantsContainerd2(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && (major > 1 || minor >= 36)
}

// Build sees to it that what clusters of the Kubernetes versions run is in the cache: programs and images. For tests, so
// are all other tools.
func (t *Testbed) Build(ctx context.Context, versions []string) error {
	var names []string
	for _, version := range versions {
		names = append(names, programs(version)...)
	}
	if t.Images != images.ForDemo {
		names = append(names, testTools()...)
	}
	_, _, err := t.make(ctx, names)
	return err
}

// testTools are the tools of make test that do not belong to one version of Kubernetes.
func testTools() []string {
	var names []string
	for _, name := range tools.Usual() {
		if !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	return names
}

// make sees to it that tools and the images are in the cache. Most images wait for the network while tools are compiled.
func (t *Testbed) make(ctx context.Context, names []string) (paths map[string]string, list registry.List, err error) {
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		paths, err = tools.Build(groupContext, t.Log, t.CacheDir, names...)
		return err
	})
	group.Go(func() (err error) {
		list, err = images.Build(groupContext, t.Log, t.CacheDir, t.Images)
		return err
	})
	return paths, list, group.Wait()
}

// Tool is the path of a tool, which is built when it is not in the cache.
func (t *Testbed) Tool(ctx context.Context, name string) (string, error) {
	paths, err := tools.Build(ctx, t.Log, t.CacheDir, name)
	return paths[name], err
}

// ToolOnPath is the path of the program on PATH that can be used instead of a tool; where there is none, the tool's.
func (t *Testbed) ToolOnPath(ctx context.Context, name string) (string, error) {
	path, err := tools.OnPath(ctx, name)
	if err == nil {
		return path, nil
	}
	t.Log.Info(fmt.Sprintf("%s is the project's own: %v", name, err))
	return t.Tool(ctx, name)
}

// build sees to it that a cluster's programs and the images are in the cache.
func (t *Testbed) build(ctx context.Context, c *plan.Cluster) (registry.List, error) {
	built, list, err := t.make(ctx, programs(c.Kubernetes))
	if err != nil {
		return nil, err
	}
	c.Binaries = map[string]string{}
	for name, at := range built {
		c.Binaries[path.Base(name)] = at
	}
	return list, nil
}

// Push makes the registry of the running testbed serve the images as they would be built now.
func (t *Testbed) Push(ctx context.Context) error {
	list, err := images.Build(ctx, t.Log, t.CacheDir, t.Images)
	if err != nil {
		return err
	}
	return t.serve(ctx, list)
}

// PushArchive makes the registry of the running testbed serve the image in a tar archive, in Docker's form, under a
// reference.
func (t *Testbed) PushArchive(ctx context.Context, archive, ref string) error {
	c, _, err := t.load()
	if err != nil {
		return err
	}
	built, err := registry.Unpack(archive, ref, c.Path("pushed"))
	if err != nil {
		return err
	}
	return t.serve(ctx, registry.List{built})
}

// serve adds images to what the registry serves, now and when it starts again.
func (t *Testbed) serve(ctx context.Context, list registry.List) error {
	c, _, err := t.load()
	if err != nil {
		return err
	}
	known, err := registry.ReadList(c.Images())
	if err != nil {
		return err
	}
	if err := known.Replace(list).Write(c.Images()); err != nil {
		return err
	}
	return registry.Push(ctx, c.Registry(), list)
}
