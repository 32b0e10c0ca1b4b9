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

func TestPinsNeedTheWholeListOfTheWarmer(t *testing.T) {
	lock := &images.Lock{Images: []images.Locked{{Image: "docker.io/library/golang:1", Digest: someDigest,
		Values: []string{"sandbox.imageWarmer.images[2]"}}}}
	if _, err := lock.WriteValues(&strings.Builder{}); err == nil ||
		!strings.Contains(err.Error(), "the lock has no image for sandbox.imageWarmer.images[0]") {
		t.Errorf("error %v", err)
	}
}
