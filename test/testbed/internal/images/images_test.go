package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/neutree-ai/packaging/internal/ociimage"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/testbed/internal/released"
)

// bench is a builder on the real tree whose operator is a file of the test's own.
func bench(t *testing.T) builder {
	t.Helper()
	operator := filepath.Join(t.TempDir(), "cnpg-manager")
	if err := os.WriteFile(operator, []byte("operator"), 0o600); err != nil {
		t.Fatal(err)
	}
	return builder{
		log: slog.New(slog.DiscardHandler), root: "../../../..", cacheDir: t.TempDir(), dir: t.TempDir(),
		tool: func(context.Context, string) (string, error) { return operator, nil },
	}
}

// TestEveryImageOfThePlatformIsServed goes through the real plans: what the chart's defaults name must have a recipe.
func TestEveryImageOfThePlatformIsServed(t *testing.T) {
	served := servedFor(t, bench(t), ForDemo)
	for _, image := range slices.Concat(platform.Images(), platform.ModuleImages(), []platform.Image{platform.OpenSandboxImage}) {
		if served[image.Ref()] == "" {
			t.Errorf("no recipe serves %s", image.Ref())
		}
	}
	for _, ref := range []string{PauseRef, BusyboxRef} {
		if served[ref] == "" {
			t.Errorf("no recipe serves %s", ref)
		}
	}
}

// servedFor lists what a set of images serves, each with the name of its recipe.
func servedFor(t *testing.T, b builder, set Set) map[string]string {
	t.Helper()
	served := map[string]string{}
	for _, plan := range slices.Concat(b.quick(set), b.slow(set)) {
		recipes, err := plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recipes {
			for _, ref := range r.refs {
				if other, twice := served[ref]; twice {
					t.Errorf("%s is served by %s and %s", ref, other, r.name)
				}
				served[ref] = r.name
			}
		}
	}
	return served
}

func TestWhatOnlyTestsNeedIsNotBuiltForTheDemo(t *testing.T) {
	b := bench(t)
	var asked []string
	tool := b.tool
	b.tool = func(ctx context.Context, name string) (string, error) {
		asked = append(asked, name)
		return tool(ctx, name)
	}
	demo := servedFor(t, b, ForDemo)
	if want := []string{"cnpg-manager"}; !slices.Equal(asked, want) {
		t.Errorf("the demo's images are made of the tools %v, want %v", asked, want)
	}
	var more []string
	for ref := range servedFor(t, b, ForTests) {
		if demo[ref] == "" {
			more = append(more, ref)
		}
	}
	slices.Sort(more)
	want := []string{SlapdRef, TraefikRef, "ghcr.io/neutree-ai/packaging/nap-hooks:" + released.Version}
	for _, image := range versionedServices() {
		image.Tag = ReleasedTag
		want = append(want, image.Ref())
	}
	slices.Sort(want)
	if !slices.Equal(more, want) {
		t.Errorf("only tests get %v, want %v", more, want)
	}
}

func TestWhatTakesLongIsNotBuiltForTests(t *testing.T) {
	b := bench(t)
	tests := servedFor(t, b, ForTests)
	var more []string
	for ref := range servedFor(t, b, ForMatrix) {
		if tests[ref] == "" {
			more = append(more, ref)
		}
	}
	if want := []string{"ghcr.io/cloudnative-pg/postgresql:18.1"}; !slices.Equal(more, want) {
		t.Errorf("only make matrix gets %v, want %v", more, want)
	}
}

func TestParseSet(t *testing.T) {
	for _, set := range []Set{ForDemo, ForTests, ForMatrix} {
		if got, err := ParseSet(string(set)); err != nil || got != set {
			t.Errorf("%s: got %s, %v", set, got, err)
		}
	}
	if _, err := ParseSet("all"); err == nil || err.Error() != `no set of images is called "all": give demo, tests or matrix` {
		t.Errorf("got %v", err)
	}
}

// contents lists an image's files with what they hold or point to.
func contents(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	reader := mutate.Extract(image)
	defer reader.Close()
	files := map[string]string{}
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		switch header.Typeflag {
		case tar.TypeReg:
			files[header.Name] = string(content)
		case tar.TypeSymlink, tar.TypeLink:
			files[header.Name] = "-> " + header.Linkname
		}
	}
}

func TestOperatorIsLaidOutAsItExpects(t *testing.T) {
	b := bench(t)
	recipes, err := b.operator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := recipes[0].make(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files := contents(t, image)
	manager := "operator/manager_" + runtime.GOARCH
	if files[manager] != "operator" || files["manager"] != "-> "+manager {
		t.Errorf("the image holds %v", files)
	}
}

func countingRecipe(t *testing.T, key string, made *int) recipe {
	t.Helper()
	return recipe{name: "counted", refs: []string{"example.com/counted:1"}, key: key,
		make: func(_ context.Context, scratch string) (v1.Image, error) {
			*made++
			source := filepath.Join(scratch, "file")
			if err := os.WriteFile(source, []byte(key), 0o600); err != nil {
				return nil, err
			}
			layer, err := ociimage.Stored.Layer(ociimage.File{Path: "/file", Source: source})
			if err != nil {
				return nil, err
			}
			return mutate.AppendLayers(empty.Image, layer)
		}}
}

func TestImageIsMadeOnceForEachKey(t *testing.T) {
	b := bench(t)
	made := 0
	for _, key := range []string{"0000000000000001", "0000000000000001", "0000000000000002"} {
		built, err := b.one(t.Context(), countingRecipe(t, key, &made))
		if err != nil {
			t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(built.Layout)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil || len(manifest.Manifests) != 1 {
			t.Fatalf("the layout holds %+v, %v; want one image", manifest, err)
		}
		image, err := index.Image(manifest.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		if files := contents(t, image); files["file"] != key {
			t.Errorf("the image for %s holds %v", key, files)
		}
		if _, err := os.Stat(filepath.Join(built.Layout, "scratch")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the scratch directory stayed: %v", err)
		}
	}
	if made != 2 {
		t.Errorf("made %d times for two keys", made)
	}
}

func tree(t *testing.T, root string) []byte {
	t.Helper()
	out := new(bytes.Buffer)
	archive := tar.NewWriter(out)
	if err := writeTree(archive, root); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWriteTree(t *testing.T) {
	root := t.TempDir()
	program := filepath.Join(root, "bin", "program")
	for _, err := range []error{
		os.Mkdir(filepath.Join(root, "bin"), 0o755),
		os.WriteFile(program, []byte("x"), 0o600),
		os.Chmod(program, 0o755|fs.ModeSetuid),
		os.Link(program, filepath.Join(root, "bin", "same")),
		os.Symlink("bin/program", filepath.Join(root, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, root)
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(program, later, later); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, tree(t, root)) {
		t.Error("another time made another layer")
	}
	archive := tar.NewReader(bytes.NewReader(before))
	for _, want := range []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/program", Typeflag: tar.TypeReg, Mode: 0o4755},
		{Name: "bin/same", Typeflag: tar.TypeLink, Mode: 0o4755, Linkname: "bin/program"},
		{Name: "link", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "bin/program"},
	} {
		got, err := archive.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != want.Name || got.Typeflag != want.Typeflag || got.Mode != want.Mode || got.Linkname != want.Linkname {
			t.Errorf("got %s %c %o -> %s, want %s %c %o -> %s", got.Name, got.Typeflag, got.Mode, got.Linkname,
				want.Name, want.Typeflag, want.Mode, want.Linkname)
		}
		if got.Uid != os.Getuid() {
			t.Errorf("%s is owned by %d, want %d", got.Name, got.Uid, os.Getuid())
		}
	}
}
