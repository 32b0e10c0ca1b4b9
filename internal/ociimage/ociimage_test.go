package ociimage

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// listing is what a layer's entries look like, one line each.
func listing(t *testing.T, layer v1.Layer) []string {
	t.Helper()
	content, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var lines []string
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.IsZero() && header.ModTime.Unix() != 0 {
			t.Errorf("%s carries a time: %s", header.Name, header.ModTime)
		}
		line := fmt.Sprintf("%c %04o %d:%d %s", header.Typeflag, header.Mode, header.Uid, header.Gid, header.Name)
		if header.Linkname != "" {
			line += " -> " + header.Linkname
		}
		lines = append(lines, line)
	}
}

func digest(t *testing.T, files ...File) string {
	t.Helper()
	layer, err := Small.Layer(files...)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func TestLayerEntries(t *testing.T) {
	layer, err := Small.Layer(
		File{Path: "/usr/bin/program", Content: []byte("x"), Mode: 0o755 | fs.ModeSetuid, UID: 3, GID: 4},
		File{Path: "/bin", Link: "usr/bin", Mode: fs.ModeSymlink},
		File{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"2 0777 0:0 bin -> usr/bin",
		"5 1777 0:0 tmp/",
		"5 0755 0:0 usr/",
		"5 0755 0:0 usr/bin/",
		"0 4755 3:4 usr/bin/program",
	}
	if diff := cmp.Diff(want, listing(t, layer)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestLayerDependsOnContentOnly(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("same"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := File{Path: "/one", Source: source, Mode: 0o644}
	two := File{Path: "/two", Content: []byte("2"), Mode: 0o644}
	before := digest(t, one, two)

	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(source, later, later); err != nil {
		t.Fatal(err)
	}
	if again := digest(t, two, one); again != before {
		t.Errorf("another order and time made another layer: %s and %s", before, again)
	}
	if err := os.WriteFile(source, []byte("else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed := digest(t, one, two); changed == before {
		t.Error("another content made the same layer")
	}
}

func TestLayerRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		files []File
		want  string
	}{
		"a relative path":        {[]File{{Path: "etc/passwd"}}, `"etc/passwd": the path must be absolute`},
		"a path that climbs":     {[]File{{Path: "/etc/../passwd"}}, "absolute and clean"},
		"the root":               {[]File{{Path: "/"}}, "absolute and clean"},
		"a path twice":           {[]File{{Path: "/a"}, {Path: "/a"}}, "/a is listed twice"},
		"a file below a file":    {[]File{{Path: "/a"}, {Path: "/a/b/c"}}, "/a/b/c lies below /a, which is no directory"},
		"a source that is gone":  {[]File{{Path: "/a", Source: "/nowhere/a"}}, "/a: open /nowhere/a"},
		"what is neither of all": {[]File{{Path: "/a", Mode: fs.ModeSocket}}, "a layer holds no"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Small.Layer(test.files...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

// index is a small index for two architectures.
func index(t *testing.T) v1.ImageIndex {
	t.Helper()
	var images []v1.Image
	for _, arch := range []string{"amd64", "arm64"} {
		layer, err := Small.Layer(File{Path: "/program", Content: []byte(arch), Mode: 0o755})
		if err != nil {
			t.Fatal(err)
		}
		image, err := New(v1.Platform{OS: "linux", Architecture: arch}, v1.Config{Entrypoint: []string{"/program"}}, layer)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	index, err := Index(images...)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestWriteArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dist", "image.oci.tar")
	want := index(t)
	if err := WriteArchive(file, "example.com/image:1", want); err != nil {
		t.Fatal(err)
	}
	got, err := layout.ImageIndexFromPath(unpack(t, file))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := got.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := want.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != wanted {
		t.Fatalf("the archive holds %+v, want the index %s alone", manifest.Manifests, wanted)
	}
	for _, key := range []string{"org.opencontainers.image.ref.name", "io.containerd.image.name"} {
		if named := manifest.Manifests[0].Annotations[key]; named != "example.com/image:1" {
			t.Errorf("%s is %q", key, named)
		}
	}
	beside, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(beside) != 1 {
		t.Errorf("beside the archive: %v, %v", beside, err)
	}
}

func unpack(t *testing.T, archive string) string {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir := t.TempDir()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(target, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPushUsesStoredCredentials(t *testing.T) {
	store := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "mine" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	tag, err := name.NewTag(host + "/team/image:1")
	if err != nil {
		t.Fatal(err)
	}
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	err = Push(ctx, tag, index(t))
	if err == nil || !strings.Contains(err.Error(), "docker login "+host) {
		t.Errorf("without credentials: got %v, want a hint at docker login", err)
	}

	login := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:mine")))
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(login), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Push(ctx, tag, index(t)); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := remote.Image(tag, remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}),
			remote.WithAuth(&authn.Basic{Username: "me", Password: "mine"}))
		if err != nil {
			t.Fatal(err)
		}
		file, err := image.ConfigFile()
		if err != nil || file.Architecture != arch {
			t.Errorf("for %s the registry gave %v, %v", arch, file, err)
		}
	}
}

func TestPushNamesWhatFailed(t *testing.T) {
	server := httptest.NewServer(registry.New())
	host := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	tag, err := name.NewTag(host + "/team/image:1")
	if err != nil {
		t.Fatal(err)
	}
	err = Push(t.Context(), tag, index(t))
	if err == nil || !strings.Contains(err.Error(), "push "+host+"/team/image:1") || strings.Contains(err.Error(), "docker login") {
		t.Errorf("got %v, want the reference and no word of logging in", err)
	}
}
