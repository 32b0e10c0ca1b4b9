package images_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/images"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

func verify(t *testing.T, lock *images.Lock, mirror string, plain ...string) error {
	t.Helper()
	registries, err := images.Access{PlainHTTP: plain, Pause: time.Millisecond}.Open()
	if err != nil {
		t.Fatal(err)
	}
	return images.Verifier{Registries: registries, Mirror: mirror, Jobs: 2}.Verify(t.Context(), lock)
}

func TestVerifyRegistry(t *testing.T) {
	hidden := ""
	r := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if hidden != "" && strings.HasSuffix(request.URL.Path, hidden) {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			next.ServeHTTP(w, request)
		})
	})
	push(t, r.host+"/m/a/both:v1", "linux/amd64", "linux/arm64")
	push(t, r.host+"/m/a/one:v1", "linux/amd64")
	list := listOf(r.host+"/m/a/both:v1", r.host+"/m/a/one:v1")
	lock, err := resolve(t, images.Access{PlainHTTP: []string{r.host}}, list, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, lock, "", r.host); err != nil {
		t.Errorf("the sources: %v", err)
	}
	// The images come from elsewhere, and the registry is a mirror under a path.
	for i, path := range []string{"ghcr.io/a/both:v1", "docker.io/a/one:v1"} {
		lock.Images[i].Image = path
	}
	if err := verify(t, lock, r.host+"/m", r.host); err != nil {
		t.Errorf("a mirror: %v", err)
	}

	hidden = lock.Images[0].Platforms[0].Digest
	err = verify(t, lock, r.host+"/m", r.host)
	if want := "the registry has its index and not its content for linux/amd64 (" + hidden + "): copy the image again," +
		" with all platforms [images.missing]"; hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	hidden = ""

	old := lock.Images[1].Digest
	moved := push(t, r.host+"/m/a/one:v1", "linux/amd64")
	lock.Images = append(lock.Images, images.Locked{Image: "ghcr.io/a/none:v1", Digest: old})
	err = verify(t, lock, r.host+"/m", r.host)
	for _, want := range []string{
		r.host + "/m/a/one:v1 is " + moved + " now, and was " + old + " when it was locked: the tag was given to another image;",
		r.host + "/m/a/none:v1: registry " + r.host + " does not have it",
		"[images.moved]", "[images.missing]", "2 things must be changed first",
	} {
		if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant %q", err, want)
		}
	}
	if err := verify(t, lock, "127.0.0.1:1"); hook.CodeOf(err) != hook.Refused ||
		!strings.Contains(err.Error(), "registry 127.0.0.1:1 could not be asked") {
		t.Errorf("no registry: %v", err)
	}
}

// podRunning is a Pod with one container.
func podRunning(namespace, name, image, id string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %q, namespace: %q}
status: {containerStatuses: [{name: main, image: %q, imageID: %q}]}
`, name, namespace, image, id)
}

func TestVerifyCluster(t *testing.T) {
	index, manifest, other := fmt.Sprintf("sha256:%064x", 1), fmt.Sprintf("sha256:%064x", 2), fmt.Sprintf("sha256:%064x", 3)
	lock := &images.Lock{Images: []images.Locked{{Image: "ghcr.io/a/one:v1", Digest: index,
		Platforms: []images.LockedPlatform{{Platform: "linux/amd64", Digest: manifest}}}}}
	server := kubetest.New(t)
	for i := range 300 {
		server.Put(podRunning("nap", fmt.Sprintf("many-%d", i), "mirror.example/a/one:v1", "mirror.example/a/one@"+index))
	}
	server.Put(podRunning("nap-workspaces", "tos-1", "ghcr.io/a/one:v1", "ghcr.io/a/one@"+manifest))
	server.Put(podRunning("nap", "pulling", "ghcr.io/a/one:v1", ""))
	server.Put(podRunning("elsewhere", "not-ours", "busybox", "docker.io/library/busybox@"+other))
	running, err := lock.Cluster(t.Context(), server.Client(), "nap", "nap-workspaces")
	if err != nil || running.Containers != 301 || running.Pending != 1 || len(running.Findings) != 0 {
		t.Fatalf("%+v, %v", running, err)
	}

	server.Put(podRunning("nap", "moved", "mirror.example/a/one:v1", "mirror.example/a/one@"+other))
	server.Put(podRunning("nap", "moved-too", "mirror.example/a/one:v1", "mirror.example/a/one@"+other))
	server.Put(podRunning("nap-workspaces", "stranger", "busybox", "docker.io/library/busybox@"+other))
	server.Put(podRunning("nap", "loaded", "ghcr.io/a/one:v1", other))
	running, err = lock.Cluster(t.Context(), server.Client(), "nap", "nap", "nap-workspaces")
	if err != nil || len(running.Findings) != 3 {
		t.Fatalf("%+v, %v", running.Findings, err)
	}
	said := running.Findings.Lines()
	for _, want := range []string{
		"container main of Pod nap/loaded runs ghcr.io/a/one:v1 (" + other + "): its node did not pull the image from a registry, and knows" +
			" no digest of it; remove the image from the node, so that it is pulled; where images are imported into nodes " +
			"instead, this command can't compare them: import them again from files that were checked [images.unlocked]",
		"container main of Pod nap/moved runs mirror.example/a/one:v1 (" + other + "): the lock has another digest for ghcr.io/a/one:v1; " +
			"pin the digests with helm neutree images lock --values-only, or write the lock again [images.unlocked]",
		"container main of Pod nap-workspaces/stranger runs busybox (" + other + "): no image of this name is in the lock; " +
			"write the lock with the values of this release, or remove the pod [images.unlocked]",
	} {
		if !slices.Contains(said, want) {
			t.Errorf("nothing says %q:\n%s", want, strings.Join(said, "\n"))
		}
	}

	server.Refuse(-1, "GET", "/api/v1/namespaces/nap/pods", kubetest.Status(403, metav1.StatusReasonForbidden, "no rights"))
	if _, err := lock.Cluster(t.Context(), server.Client(), "nap"); err == nil ||
		!strings.Contains(err.Error(), "list the pods of namespace nap: no rights") {
		t.Errorf("without rights: %v", err)
	}
}
