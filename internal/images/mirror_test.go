package images_test

import (
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/images"
)

// mirror copies a lock and returns how many bytes of blobs were sent.
func mirror(t *testing.T, lock *images.Lock, host string, plain ...string) (int64, error) {
	t.Helper()
	access := images.Access{PlainHTTP: plain, Pause: time.Millisecond, Patience: 5 * time.Second}
	from, err := access.Open()
	if err != nil {
		t.Fatal(err)
	}
	to, err := access.Open()
	if err != nil {
		t.Fatal(err)
	}
	err = images.Mirror{From: from, To: to, Host: host, Jobs: 4}.Copy(t.Context(), lock)
	return to.Sent(), err
}

// attach stores an image as a referrer of a digest, and one under the tag that cosign gives to a signature of it.
func attach(t *testing.T, repository, digest string) (referrer, signature string) {
	t.Helper()
	subject, err := name.NewDigest(repository+"@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := remote.Head(subject)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	attached, is := mutate.Subject(image, *descriptor).(v1.Image)
	if !is {
		t.Fatal("no image")
	}
	hash, err := attached.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(subject.Context().Digest(hash.String()), attached); err != nil {
		t.Fatal(err)
	}
	return hash.String(), push(t, repository+":"+strings.Replace(digest, ":", "-", 1)+".sig", "linux/amd64")
}

func TestMirrorCopiesAllOnce(t *testing.T) {
	source, target := serve(t, nil), serve(t, nil)
	digest := push(t, source.host+"/a/both:v1", "linux/amd64", "linux/arm64")
	push(t, source.host+"/b/one:v1", "linux/amd64")
	referrer, signature := attach(t, source.host+"/a/both", digest)
	lock, err := resolve(t, images.Access{PlainHTTP: []string{source.host}},
		listOf(source.host+"/a/both:v1", source.host+"/b/one:v1"), "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	// What the tag names now is not what was locked.
	push(t, source.host+"/b/one:v1", "linux/amd64")
	sent, err := mirror(t, lock, target.host+"/m", source.host, target.host)
	if err != nil || sent < 6000 {
		t.Fatalf("%d bytes: %v", sent, err)
	}
	if err := verify(t, lock, target.host+"/m", target.host); err != nil {
		t.Error(err)
	}
	copied, err := name.NewDigest(target.host+"/m/a/both@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Referrers(copied)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || !slices.ContainsFunc(manifest.Manifests, func(d v1.Descriptor) bool { return d.Digest.String() == referrer }) {
		t.Errorf("the referrer was not copied: %v, %v", manifest, err)
	}
	tag := copied.Context().Tag(strings.Replace(digest, ":", "-", 1) + ".sig")
	if got, err := remote.Head(tag); err != nil || got.Digest.String() != signature {
		t.Errorf("the signature was not copied: %v, %v", got, err)
	}

	if sent, err := mirror(t, lock, target.host+"/m", source.host, target.host); err != nil || sent != 0 {
		t.Errorf("the second run sent %d bytes: %v", sent, err)
	}
}

// cut answers the first of some requests with half a body and closes the connection.
func cut(times int32, which func(*http.Request) bool) (func(http.Handler) http.Handler, *atomic.Int32) {
	var seen atomic.Int32
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if !which(request) || seen.Add(1) > times {
				next.ServeHTTP(w, request)
				return
			}
			if request.Method == http.MethodGet {
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(http.StatusOK)
				_, _ = io.WriteString(w, "half")
			} else {
				_, _ = io.CopyN(io.Discard, request.Body, 10)
			}
			panic(http.ErrAbortHandler)
		})
	}, &seen
}

func TestMirrorRetriesABlobThatWasCutOff(t *testing.T) {
	for side, which := range map[string]func(*http.Request) bool{
		"source": func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
		},
		"target": func(r *http.Request) bool { return r.Method == http.MethodPatch },
	} {
		t.Run(side, func(t *testing.T) {
			wrap, seen := cut(1, which)
			source, target := serve(t, nil), serve(t, nil)
			// Nothing is cut while the source is filled.
			push(t, source.host+"/a/one:v1", "linux/amd64", "linux/arm64")
			lock, err := resolve(t, images.Access{PlainHTTP: []string{source.host}}, listOf(source.host+"/a/one:v1"), "linux/amd64")
			if err != nil {
				t.Fatal(err)
			}
			front := serve(t, func(http.Handler) http.Handler {
				behind := source.host
				if side == "target" {
					behind = target.host
				}
				return wrap(forward(behind))
			})
			host := target.host
			if side == "source" {
				lock.Images[0].Image = front.host + "/a/one:v1"
			} else {
				host = front.host
			}
			if _, err := mirror(t, lock, host, source.host, target.host, front.host); err != nil || seen.Load() < 2 {
				t.Errorf("after %d requests: %v", seen.Load(), err)
			}
			if err := verify(t, lock, target.host, target.host); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMirrorSaysWhichSideFailed(t *testing.T) {
	source := serve(t, nil)
	push(t, source.host+"/a/one:v1", "linux/amd64")
	lock, err := resolve(t, images.Access{PlainHTTP: []string{source.host}}, listOf(source.host+"/a/one:v1"), "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]string{
		http.StatusUnauthorized:        "refuses access (HTTP 401): log in with an account that has access to it",
		http.StatusNotFound:            "has no place for it: create the project or the repository there [images.registry]",
		http.StatusInsufficientStorage: "answers HTTP 507: look at the registry's logs",
	} {
		target := serve(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				if request.URL.Path == "/v2/" {
					next.ServeHTTP(w, request)
					return
				}
				w.WriteHeader(status)
			})
		})
		_, err := mirror(t, lock, target.host, source.host, target.host)
		if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), target.host+"/a/one:v1: registry "+target.host+" "+want) {
			t.Errorf("HTTP %d: error %v", status, err)
		}
	}
	lock.Images[0].Digest = someDigest
	target := serve(t, nil)
	_, err = mirror(t, lock, target.host, source.host, target.host)
	if want := source.host + "/a/one@" + someDigest + ": registry " + source.host + " does not have it"; hook.CodeOf(err) != hook.Refused ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// Two registries may have images of one name. Nothing is copied then, also none of the others.
func TestMirrorRefusesTwoImagesOfOneName(t *testing.T) {
	one, two, target := serve(t, nil), serve(t, nil), serve(t, nil)
	list := listOf(one.host+"/a/b:v1", one.host+"/c/d:v1", two.host+"/a/b:v1")
	for _, image := range list.Images {
		push(t, image.Ref, "linux/amd64")
	}
	lock, err := resolve(t, images.Access{PlainHTTP: []string{one.host, two.host}}, list, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	want := one.host + "/a/b:v1 and " + two.host + "/a/b:v1 would both be " + target.host + "/m/a/b:v1"
	sent, err := mirror(t, lock, target.host+"/m", one.host, two.host, target.host)
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) || sent > 0 {
		t.Errorf("%d bytes: %v", sent, err)
	}
	var text strings.Builder
	err = list.Write(&text, images.Format{Name: "crane", To: target.host + "/m"})
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) || text.Len() > 0 {
		t.Errorf("%s: %v", text.String(), err)
	}
	// The same content has one name without harm.
	lock.Images[2].Image, lock.Images[2].Digest = one.host+"/a/b:v1@"+lock.Images[0].Digest, lock.Images[0].Digest
	if _, err := mirror(t, lock, target.host+"/m", one.host, target.host); err != nil {
		t.Error(err)
	}
}

func TestCheckHost(t *testing.T) {
	for host, good := range map[string]bool{
		"registry.example.com": true, "registry:5000": true, "localhost/m": true, "r.example/m/n/": true,
		"https://r.example": false, "registry": false, "": false, "r.example/UPPER": false, "r.example/a b": false,
	} {
		if err := images.CheckHost(host); (err == nil) != good {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestMirrorValues(t *testing.T) {
	lock := &images.Lock{Images: []images.Locked{
		{Image: "ghcr.io/a/b:v1", Values: []string{"global.images.gateway"}},
		{Image: "ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0", Values: []string{"cloudnative-pg.image"}},
	}}
	var text strings.Builder
	if err := lock.WriteMirrorValues(&text, "r.example/m/"); err != nil {
		t.Fatal(err)
	}
	if want := "cloudnative-pg:\n  image:\n    repository: r.example/m/cloudnative-pg/cloudnative-pg\nglobal:\n  imageRegistry: r.example/m\n"; text.String() != want {
		t.Errorf("got\n%s", text.String())
	}
}

// forward sends requests on to another registry.
func forward(host string) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", host
		r.Out.Host = r.In.Host
	}}
}
