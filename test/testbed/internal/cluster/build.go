package cluster

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/neutree-ai/packaging/test/testbed/internal/images"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/registry"
	"github.com/neutree-ai/packaging/test/testbed/internal/tools"
)

// Versions are the minor versions of Kubernetes that can be brought up, the default one first.
func Versions() []string { return []string{"1.34", "1.28"} }

// programs are the tools that a cluster of a version runs.
func programs(version string) []string {
	names := []string{"etcd", "coredns"}
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		names = append(names, "kubernetes-"+version+"/"+program)
	}
	return names
}

// Build sees to it that the programs of the Kubernetes versions, all other tools and all images are in the cache.
func (t *Testbed) Build(ctx context.Context, versions []string) error {
	if _, err := tools.Build(ctx, t.Log, t.CacheDir, toolNames(versions)...); err != nil {
		return err
	}
	_, err := images.Build(ctx, t.Log, t.CacheDir)
	return err
}

// toolNames are all tools but the Kubernetes programs of other versions. kubectl is that of the default one.
func toolNames(versions []string) []string {
	var names []string
	for _, name := range tools.Names() {
		module, program, isKubernetes := strings.Cut(name, "/")
		if !isKubernetes || program == "kubectl" || slices.Contains(versions, strings.TrimPrefix(module, "kubernetes-")) {
			names = append(names, name)
		}
	}
	return names
}

// Tool is the path of a tool, which is built when it is not in the cache.
func (t *Testbed) Tool(ctx context.Context, name string) (string, error) {
	if name == "kubectl" {
		name = "kubernetes-" + Versions()[0] + "/kubectl"
	}
	paths, err := tools.Build(ctx, t.Log, t.CacheDir, name)
	return paths[name], err
}

// build sees to it that a cluster's programs and the images are in the cache.
func (t *Testbed) build(ctx context.Context, c *plan.Cluster) (registry.List, error) {
	built, err := tools.Build(ctx, t.Log, t.CacheDir, programs(c.Kubernetes)...)
	if err != nil {
		return nil, err
	}
	c.Binaries = map[string]string{}
	for name, at := range built {
		c.Binaries[path.Base(name)] = at
	}
	list, err := images.Build(ctx, t.Log, t.CacheDir)
	return list, err
}

// Push makes the registry of the running testbed serve the images as they would be built now.
func (t *Testbed) Push(ctx context.Context) error {
	list, err := images.Build(ctx, t.Log, t.CacheDir)
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
