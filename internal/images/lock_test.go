package images_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/images"
)

// served is a registry in memory.
type served struct{ host string }

// serve starts a registry that is asked by HTTP. What wrap returns may answer in its place.
func serve(t *testing.T, wrap func(http.Handler) http.Handler) served {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return served{host: strings.TrimPrefix(server.URL, "http://")}
}

// push stores an image for each platform, as an index, or as a single manifest for one platform.
func push(t *testing.T, ref string, platforms ...string) string {
	t.Helper()
	parsed, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var pushed remote.Taggable
	for _, text := range platforms {
		platform, err := v1.ParsePlatform(text)
		if err != nil {
			t.Fatal(err)
		}
		image, err := random.Image(1000, 2)
		if err != nil {
			t.Fatal(err)
		}
		file, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
		if image, err = mutate.ConfigFile(image, file); err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		pushed = image
	}
	if len(platforms) > 1 {
		pushed = index
	}
	if err := remote.Push(parsed, pushed); err != nil {
		t.Fatal(err)
	}
	descriptor, err := remote.Head(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return descriptor.Digest.String()
}

var someChart = images.Chart{Name: "neutree", Version: "1.0.0"}

// listOf is a list of images, each named by a value.
func listOf(refs ...string) *images.List {
	l := &images.List{Chart: someChart}
	for i, ref := range refs {
		l.Images = append(l.Images, images.Image{Ref: ref, Uses: []images.Use{{Value: fmt.Sprintf("global.images.i%d", i)}}})
	}
	return l
}

// resolve makes a lock.
func resolve(t *testing.T, access images.Access, l *images.List, platforms ...string) (*images.Lock, error) {
	t.Helper()
	access.Pause = time.Millisecond
	registries, err := access.Open()
	if err != nil {
		t.Fatal(err)
	}
	return images.Resolver{Registries: registries, Platforms: platforms, Jobs: 2}.Lock(t.Context(), l)
}

func TestLockHasDigestsAndSizes(t *testing.T) {
	r := serve(t, nil)
	both := push(t, r.host+"/a/both:v1", "linux/amd64", "linux/arm64/v8")
	one := push(t, r.host+"/a/one:v1", "linux/amd64")
	// It is known to be for amd64 alone.
	known := push(t, r.host+"/neutree-ai/agent-platform/nap-cp:v0.2.0", "linux/amd64")
	list := listOf(r.host+"/a/both:v1", r.host+"/neutree-ai/agent-platform/nap-cp:v0.2.0")
	access := images.Access{PlainHTTP: []string{r.host}}
	lock, err := resolve(t, access, list, "linux/amd64", "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	if got := lock.Images[0]; got.Digest != both || len(got.Platforms) != 2 || got.Platforms[1].Platform != "linux/arm64" ||
		got.Platforms[0].Size < 2000 || got.Platforms[0].Digest == got.Platforms[1].Digest {
		t.Errorf("index: %+v", got)
	}
	if got := lock.Images[1]; got.Digest != known || len(got.Platforms) != 1 || got.Platforms[0].Digest != known {
		t.Errorf("single manifest: %+v", got)
	}

	file := filepath.Join(t.TempDir(), "lock.yaml")
	write := func() string {
		var text strings.Builder
		if err := lock.Write(&text); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	if err := os.WriteFile(file, []byte(write()), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := images.ReadLock(file)
	if err != nil || write() != func() string { lock = read; return write() }() {
		t.Errorf("a lock is read as something else than was written: %v", err)
	}
	if err := read.Fits(list); err != nil {
		t.Error(err)
	}

	// A pinned image keeps its digest, whatever the tag names later.
	pinned := r.host + "/a/one:v1@" + one
	push(t, r.host+"/a/one:v1", "linux/amd64")
	lock, err = resolve(t, access, listOf(pinned), "linux/amd64")
	if err != nil || lock.Images[0].Digest != one {
		t.Errorf("pinned: %+v, %v", lock, err)
	}
}

func TestLockReportsEachImageThatCannotBeLocked(t *testing.T) {
	r := serve(t, nil)
	push(t, r.host+"/a/one:v1", "linux/amd64")
	refused := served{host: "127.0.0.1:1"}
	silent := serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() })
	})
	closed := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
		})
	})
	broken := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.URL.Path == "/v2/" {
				next.ServeHTTP(w, request)
				return
			}
			http.Error(w, "\x1b[2J", http.StatusTeapot)
		})
	})
	private := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	private.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(private.Close)
	tls := strings.TrimPrefix(private.URL, "https://")
	list := listOf(r.host+"/a/none:v1", r.host+"/a/one:v1", refused.host+"/a:v1", silent.host+"/a:v1", closed.host+"/a:v1",
		broken.host+"/a:v1", tls+"/a:v1")
	_, err := resolve(t, images.Access{Patience: 300 * time.Millisecond,
		PlainHTTP: []string{r.host, refused.host, silent.host, closed.host, broken.host}}, list, "linux/arm64")
	if hook.CodeOf(err) != hook.Refused {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{
		"(1) " + r.host + "/a/none:v1: registry " + r.host + " does not have it: fix the image name or tag [images.missing]",
		r.host + "/a/one:v1 is for linux/amd64, not for linux/arm64: leave that platform out of --platform, or name another image" +
			" [images.lock-architecture]",
		refused.host + "/a:v1: registry " + refused.host + " could not be asked: ",
		silent.host + "/a:v1: registry " + silent.host + " does not answer in time: check its name",
		closed.host + "/a:v1: registry " + closed.host + " refuses access (HTTP 401): log in",
		broken.host + "/a:v1: registry " + broken.host + " answers HTTP 418",
		tls + "/a:v1: the certificate of registry " + tls + " is signed by a CA that is not trusted: name the CA certificate with --ca-file",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message does not say %q:\n%v", want, err)
		}
	}
}

func TestRegistryByHTTPMustBeNamed(t *testing.T) {
	r := serve(t, nil)
	push(t, r.host+"/a:v1", "linux/amd64")
	_, err := resolve(t, images.Access{}, listOf(r.host+"/a:v1"), "linux/amd64")
	if err == nil || !strings.Contains(err.Error(), "answers by HTTP and not by HTTPS: if that is meant, allow it with --plain-http "+r.host) {
		t.Errorf("error %v", err)
	}
}

func TestPrivateCAAndCredentialsFromFiles(t *testing.T) {
	backend := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	open := httptest.NewServer(backend)
	t.Cleanup(open.Close)
	// A token server as registries have one: the token is for who knows the password.
	var secured *httptest.Server
	secured = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/token" {
			if user, password, _ := request.BasicAuth(); user != "jane" || password != "s3cret-word" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"token":"abc"}`)
			return
		}
		if request.Header.Get("Authorization") != "Bearer abc" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+secured.URL+`/token",service="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, request)
	}))
	t.Cleanup(secured.Close)
	push(t, strings.TrimPrefix(open.URL, "http://")+"/a:v1", "linux/amd64")
	host, dir := strings.TrimPrefix(secured.URL, "https://"), t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	auth := func(password string) string {
		return `{"auths":{"` + host + `":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("jane:"+password)) + `"}}}`
	}
	ca := write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw})))
	list := listOf(host + "/a:v1")
	if lock, err := resolve(t, images.Access{CAFile: ca, AuthFile: write("good.json", auth("s3cret-word"))}, list, "linux/amd64"); err != nil ||
		lock.Images[0].Digest == "" {
		t.Errorf("with the CA certificate and the password: %v", err)
	}
	for file, content := range map[string]string{"wrong.json": auth("other-w0rd"), "none.json": "{}"} {
		_, err := resolve(t, images.Access{CAFile: ca, AuthFile: write(file, content)}, list, "linux/amd64")
		if err == nil || !strings.Contains(err.Error(), "refuses access (HTTP 401)") || strings.Contains(err.Error(), "w0rd") {
			t.Errorf("%s: error %v", file, err)
		}
	}
	for access, want := range map[*images.Access]string{
		{AuthFile: filepath.Join(dir, "absent")}:                   "absent: open ",
		{AuthFile: write("broken.json", `{"auths":"s3cret-word"`)}: "broken.json is no config.json of docker: docker login writes one",
		{CAFile: filepath.Join(dir, "absent")}:                     "read the CA certificates of --ca-file: open ",
		{CAFile: write("no.pem", "none")}:                          "no.pem has no certificate in PEM format",
	} {
		if _, err := access.Open(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestLockStopsInTime(t *testing.T) {
	r := serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() })
	})
	registries, err := images.Access{PlainHTTP: []string{r.host}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = images.Resolver{Registries: registries, Platforms: []string{"linux/amd64"}}.Lock(ctx, listOf(r.host+"/a:v1"))
	if got := hook.CodeOf(hook.Stopped(ctx, err)); got != hook.Deadline {
		t.Errorf("code %d: %v", got, err)
	}
}

const someDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func TestReadLockRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock.yaml")
	if _, err := images.ReadLock(path); err == nil || !strings.Contains(err.Error(), "read the lock: open ") {
		t.Errorf("no file: %v", err)
	}
	image := "{image: 'ghcr.io/a:v1', digest: '" + someDigest + "', platforms: []}"
	for content, want := range map[string]string{
		"[": "is no lock: ",
		"version: 1\nextra: 1\nimages: [" + image + "]":                  "is no lock: ",
		"version: 2\nimages: [" + image + "]":                            "is a lock of format 2, and this version of the plugin reads format 1",
		"version: 1":                                                     "locks no image",
		"version: 1\nimages: [" + image + ", " + image + "]":             `image "ghcr.io/a:v1": it is locked twice`,
		"version: 1\nimages: [{image: busybox, digest: x}]":              `image "busybox": it is not a full name`,
		"version: 1\nimages: [{image: 'ghcr.io/a:v1', digest: 'sha1:'}]": `image "ghcr.io/a:v1": digest "sha1:"`,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := images.ReadLock(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v\nwant %q", content, err, want)
		}
	}
}

func TestLockOfAnotherChart(t *testing.T) {
	lock := &images.Lock{Version: 1, Chart: images.Chart{Name: "neutree", Version: "0.9.0"}, Images: []images.Locked{{Image: "ghcr.io/a:v1"}}}
	if err := lock.Fits(listOf("ghcr.io/a:v1")); hook.CodeOf(err) != hook.Refused ||
		!strings.Contains(err.Error(), "the lock is of chart neutree 0.9.0, not of neutree 1.0.0: write a lock for this chart") {
		t.Errorf("error %v", err)
	}
	lock.Chart = someChart
	if err := lock.Fits(listOf("ghcr.io/a:v1", "ghcr.io/b:v1")); hook.CodeOf(err) != hook.Refused ||
		!strings.Contains(err.Error(), "ghcr.io/b:v1 is not in the lock: write the lock again") {
		t.Errorf("error %v", err)
	}
}

func TestPlatformsAreReadBeforeAnyWork(t *testing.T) {
	for _, text := range []string{"amd64", "linux/", "a/b/c/d", ""} {
		if _, err := (images.Resolver{Platforms: []string{text}}).Lock(t.Context(), listOf("ghcr.io/a:v1")); err == nil ||
			!strings.Contains(err.Error(), "write OS/ARCHITECTURE, such as linux/amd64") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}
