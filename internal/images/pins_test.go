package images_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	helmvalues "helm.sh/helm/v3/pkg/cli/values"

	"github.com/neutree-ai/packaging/internal/images"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// With the values that are written, each image but those of the agents is pulled by its digest, in every module.
func TestWrittenValuesPinEveryImage(t *testing.T) {
	umbrella := requirementtest.Umbrella(t)
	listed := list(t, umbrella, images.EveryModule(helmvalues.Options{}))
	lock := &images.Lock{Version: images.LockVersion, Chart: listed.Chart}
	digests := map[string]string{}
	for i, image := range listed.Images {
		digest := fmt.Sprintf("sha256:%064x", i+1)
		digests[image.Ref] = digest
		locked := images.Locked{Image: image.Ref, Digest: digest}
		for _, use := range image.Uses {
			if !slices.Contains(locked.Values, use.Value) {
				locked.Values = append(locked.Values, use.Value)
			}
		}
		lock.Images = append(lock.Images, locked)
	}
	var text strings.Builder
	unpinned, err := lock.WriteValues(&text)
	if err != nil {
		t.Fatal(err)
	}
	if len(unpinned) != 3 || !strings.Contains(unpinned[0], "nap-agent-claude-code") {
		t.Errorf("not pinned: %v", unpinned)
	}
	file := filepath.Join(t.TempDir(), "digests.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	pinned := refs(list(t, umbrella, images.EveryModule(helmvalues.Options{ValueFiles: []string{file}})))
	if len(pinned) != len(listed.Images) {
		t.Errorf("%d images became %d", len(listed.Images), len(pinned))
	}
	for ref, digest := range digests {
		want := ref + "@" + digest
		if slices.Contains(unpinned, ref) {
			want = ref
		}
		if !slices.Contains(pinned, want) {
			t.Errorf("%s is not pulled as %s", ref, want)
		}
	}
}

// lockOf makes a lock of a list, with digests that are made up.
func lockOf(listed *images.List) *images.Lock {
	lock := &images.Lock{Version: images.LockVersion, Chart: listed.Chart}
	for i, image := range listed.Images {
		locked := images.Locked{Image: image.Ref, Digest: fmt.Sprintf("sha256:%064x", i+1)}
		for _, use := range image.Uses {
			if use.Value != "" && !slices.Contains(locked.Values, use.Value) {
				locked.Values = append(locked.Values, use.Value)
			}
		}
		lock.Images = append(lock.Images, locked)
	}
	return lock
}

// Each of several values that name one image is pinned, also where the warmer has an image twice.
func TestEveryValueOfAnImageIsPinned(t *testing.T) {
	const warmer = "sandbox.imageWarmer.images"
	options := images.EveryModule(helmvalues.Options{Values: []string{
		"global.images.gateway.repository=neutree-ai/same", "global.images.gateway.tag=v1",
		"global.images.scheduler.repository=neutree-ai/same", "global.images.scheduler.tag=v1",
		warmer + "[0].registry=docker.io", warmer + "[0].repository=library/golang", warmer + "[0].tag=v1",
		warmer + "[1].registry=docker.io", warmer + "[1].repository=library/golang", warmer + "[1].tag=v1",
	}})
	listed := list(t, requirementtest.Umbrella(t), options)
	var text strings.Builder
	if _, err := lockOf(listed).WriteValues(&text); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "digests.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	options.ValueFiles = []string{file}
	for _, ref := range refs(list(t, requirementtest.Umbrella(t), options)) {
		if (strings.Contains(ref, "/same:") || strings.Contains(ref, "/golang:")) && !strings.Contains(ref, "@sha256:") {
			t.Errorf("%s is not pinned by\n%s", ref, text.String())
		}
	}
	if n := strings.Count(text.String(), "repository: library/golang"); n != 2 {
		t.Errorf("the warmer has %d images, not 2:\n%s", n, text.String())
	}
}

func TestPinsNeedTheWholeListOfTheWarmer(t *testing.T) {
	lock := &images.Lock{Images: []images.Locked{{Image: "docker.io/library/golang:1", Digest: someDigest,
		Values: []string{"sandbox.imageWarmer.images[2]"}}}}
	if _, err := lock.WriteValues(&strings.Builder{}); err == nil ||
		!strings.Contains(err.Error(), "the lock has no image for sandbox.imageWarmer.images[0]") {
		t.Errorf("error %v", err)
	}
}
