// Package platform holds what is known of the platform as data: which services exist, the images they are
// published as, and what each of them needs. The chart's tests, the testbed and the tools read the same
// facts from here, so that no two of them can disagree.
package platform

import (
	"fmt"
	"slices"
	"strings"
)

// Image names one published image by its parts, as the chart's values do.
type Image struct {
	// Key is the name of the image under global.images in the chart's values.
	Key string
	// Registry is the host, e.g. "ghcr.io".
	Registry string
	// Repository is the path below the registry, e.g. "neutree-ai/agent-platform/nap-cp".
	Repository string
	// Tag is the default tag.
	Tag string
}

// Ref is the image's public reference, e.g. "ghcr.io/neutree-ai/afs:latest".
func (i Image) Ref() string { return fmt.Sprintf("%s/%s:%s", i.Registry, i.Repository, i.Tag) }

const (
	servicesTag  = "v0.2.0"
	servicesRepo = "neutree-ai/agent-platform/"
)

// AgentTypes are the kinds of agent a workspace can run. The agent image of each is
// "<prefix>-<type>:<tag>" with one prefix and one tag for all of them.
var AgentTypes = []string{"claude-code", "codex", "goose"}

// HooksImage is the image of nap-hooks, which the chart's Jobs and init containers run.
var HooksImage = Image{Key: "hooks", Registry: "ghcr.io", Repository: "neutree-ai/packaging/nap-hooks", Tag: "0.2.0-dev.0"}

// OperatorImage is the CloudNativePG operator that the chart's dependency installs.
var OperatorImage = Image{Key: "cloudnative-pg", Registry: "ghcr.io", Repository: "cloudnative-pg/cloudnative-pg", Tag: "1.30.0"}

// OperatorKubernetes is the oldest Kubernetes that the operator of OperatorImage is tested with.
const OperatorKubernetes = "1.30"

func service(key, name string) Image {
	return Image{Key: key, Registry: "ghcr.io", Repository: servicesRepo + name, Tag: servicesTag}
}

// Images is the bill of materials: the newest coherent set of published images. AFS has no known
// release tag, so it alone is named by "latest".
func Images() []Image {
	images := []Image{
		service("controlPlane", "nap-cp"),
		service("gateway", "nap-cg"),
		service("scheduler", "nap-scheduler"),
		service("skills", "nap-skills-content-service"),
		service("envRunner", "nap-env-runner-k8s"),
		service("memoryFuse", "nap-memory-fuse"),
		{Key: "afs", Registry: "ghcr.io", Repository: "neutree-ai/afs", Tag: "latest"},
		{Key: "officeConverter", Registry: "docker.io", Repository: "gotenberg/gotenberg", Tag: "8.37.0"},
		{Key: "postgresql", Registry: "ghcr.io", Repository: "cloudnative-pg/postgresql", Tag: "17.10"},
	}
	for _, agent := range AgentTypes {
		images = append(images, service("agent", "nap-agent-"+agent))
	}
	return slices.Concat(images, []Image{HooksImage, OperatorImage})
}

// amd64Only are the repositories whose pinned tags were published for amd64 alone.
var amd64Only = map[string]string{
	servicesRepo + "nap-cp":                     servicesTag,
	servicesRepo + "nap-cg":                     servicesTag,
	servicesRepo + "nap-scheduler":              servicesTag,
	servicesRepo + "nap-skills-content-service": servicesTag,
	servicesRepo + "nap-sandbox":                servicesTag,
	servicesRepo + "nap-browser":                servicesTag,
	servicesRepo + "nap-memory-fuse":            servicesTag,
	servicesRepo + "nap-agent-claude-code":      servicesTag,
	servicesRepo + "nap-agent-codex":            servicesTag,
	servicesRepo + "chromium-headful":           "v0.1.0",
}

// Architectures lists what an image was published for, where that is known to be less than everything. The registry
// does not matter: a mirror holds the same.
func Architectures(ref string) []string {
	for repository, tag := range amd64Only {
		if strings.HasSuffix(ref, "/"+repository+":"+tag) {
			return []string{"amd64"}
		}
	}
	return nil
}
