package registry

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/neutree-ai/packaging/test/testbed/internal/images"
)

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func built(t *testing.T, image v1.Image, refs ...string) images.Built {
	t.Helper()
	path, err := layout.Write(t.TempDir(), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(image); err != nil {
		t.Fatal(err)
	}
	return images.Built{Refs: refs, Layout: string(path)}
}

// serve starts a registry and returns its address.
func serve(t *testing.T, list List) string {
	t.Helper()
	handler, err := New(filepath.Join(t.TempDir(), "blobs"), list)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	addr := strings.TrimPrefix(server.URL, "http://")
	if err := Push(t.Context(), addr, list); err != nil {
		t.Fatal(err)
	}
	return addr
}

// pull gets an image as a mirror is asked for it, and checks that it is whole.
func pull(t *testing.T, addr, path string, want v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(addr+"/"+path, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if err := validate.Image(got); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	gotDigest, err := got.Digest()
	if err != nil {
		t.Fatal(err)
	}
	wantDigest, err := want.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if gotDigest != wantDigest {
		t.Errorf("%s is another image", path)
	}
}

func TestPublicReferencesArePulledFromTheMirror(t *testing.T) {
	one, other := randomImage(t), randomImage(t)
	addr := serve(t, List{
		built(t, one, "ghcr.io/neutree-ai/packaging/nap-hooks:0.1.0", "registry.k8s.io/pause:3.10"),
		built(t, other, "busybox:1.35", "docker.io/gotenberg/gotenberg:8"),
	})
	pull(t, addr, "neutree-ai/packaging/nap-hooks:0.1.0", one)
	pull(t, addr, "pause:3.10", one)
	pull(t, addr, "library/busybox:1.35", other)
	pull(t, addr, "gotenberg/gotenberg:8", other)
	digest, err := other.Digest()
	if err != nil {
		t.Fatal(err)
	}
	pull(t, addr, "library/busybox@"+digest.String(), other)
}

func TestLaterImagesCanBePushed(t *testing.T) {
	addr := serve(t, nil)
	image := randomImage(t)
	if err := Push(t.Context(), addr, List{built(t, image, "ghcr.io/somebody/late:1")}); err != nil {
		t.Fatal(err)
	}
	pull(t, addr, "somebody/late:1", image)
}

func TestUnpackReadsAnArchive(t *testing.T) {
	image := randomImage(t)
	archive := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("whatever:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var unpacked images.Built
	for range 2 {
		if unpacked, err = Unpack(archive, "ghcr.io/somebody/mine:1", dir); err != nil {
			t.Fatal(err)
		}
	}
	addr := serve(t, List{unpacked})
	ref, err := name.ParseReference(addr+"/somebody/mine:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
}

func TestUnpackNamesWhatIsNoArchive(t *testing.T) {
	_, err := Unpack("/does/not/exist.tar", "a:1", t.TempDir())
	if err == nil || !strings.HasPrefix(err.Error(), "read the image in /does/not/exist.tar: ") {
		t.Errorf("got %v", err)
	}
}

func TestPushNamesABadReference(t *testing.T) {
	err := Push(t.Context(), serve(t, nil), List{built(t, randomImage(t), "UPPER CASE")})
	if err == nil || !strings.Contains(err.Error(), `image reference "UPPER CASE"`) {
		t.Errorf("got %v", err)
	}
}

func TestReplaceTakesReferencesOver(t *testing.T) {
	list := List{{Refs: []string{"a:1", "b:1"}, Layout: "old"}, {Refs: []string{"c:1"}, Layout: "gone"}}
	got := list.Replace(List{{Refs: []string{"b:1", "c:1"}, Layout: "new"}})
	want := List{{Refs: []string{"a:1"}, Layout: "old"}, {Refs: []string{"b:1", "c:1"}, Layout: "new"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

func TestListSurvivesItsFile(t *testing.T) {
	list := List{{Refs: []string{"a:1"}, Layout: "/somewhere"}}
	path := filepath.Join(t.TempDir(), "images.json")
	if err := list.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadList(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}
