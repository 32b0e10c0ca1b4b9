package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Verifier compares registries with a lock.
type Verifier struct {
	Registries *Registries
	// Mirror is the registry that the images were copied to, with a path or without. Empty: each image's own registry.
	Mirror string
	// Jobs is how many images are asked for at a time.
	Jobs int
}

// Verify asks for each image of a lock, and reports at once what is missing or different, as findings.
func (v Verifier) Verify(ctx context.Context, lock *Lock) error {
	return each(ctx, v.Jobs, lock.Images, func(ctx context.Context, _ int, image Locked) error {
		return v.image(ctx, image)
	})
}

// image compares one image: what its name leads to, and the content for each platform.
func (v Verifier) image(ctx context.Context, image Locked) error {
	at := image.Image
	if v.Mirror != "" {
		at = At(v.Mirror, at)
	}
	ref, err := v.Registries.reference(at)
	if err != nil {
		return err
	}
	options := v.Registries.options(ctx)
	got, err := remote.Head(ref, options...)
	if err != nil {
		return finding.List{v.Registries.failure(at, err)}
	}
	if got.Digest.String() != image.Digest {
		return finding.List{{ID: finding.ImagesMoved, Severity: finding.Error, Object: "image " + at,
			Value: strings.Join(image.Values, ", "),
			Found: fmt.Sprintf("%s is %s now, and was %s when it was locked", at, got.Digest, image.Digest),
			Why:   "the tag was given to another image",
			Fix:   "find out who changed it; to take the new one, write the lock again"}}
	}
	for _, content := range image.Platforms {
		if err := v.content(ctx, at, ref.Context(), content); err != nil {
			return err
		}
	}
	return nil
}

// content asks for the manifest for one platform, which a mirror of some platforms alone may lack.
func (v Verifier) content(ctx context.Context, at string, repository name.Repository, content LockedPlatform) error {
	_, err := remote.Head(repository.Digest(content.Digest), v.Registries.options(ctx)...)
	if err == nil {
		return nil
	}
	f := v.Registries.failure(at, err)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		f.Found = fmt.Sprintf("%s: the registry has its index and not its content for %s (%s)", at, content.Platform,
			content.Digest)
		f.Fix = "copy the image again, with all platforms"
	}
	return finding.List{f}
}

// Running is what the pods of some namespaces run, compared with a lock.
type Running struct {
	// Containers is how many were compared, Pending how many have not pulled their image yet.
	Containers, Pending int
	// Findings are the images that no lock has, each once.
	Findings finding.List
}

// Cluster compares the images that pods run with a lock. Each namespace is read page by page.
func (l *Lock) Cluster(ctx context.Context, client *kube.Client, namespaces ...string) (Running, error) {
	digests, names := map[string]bool{}, map[string]string{}
	for _, image := range l.Images {
		digests[image.Digest] = true
		names[pathOf(image.Image)] = image.Image
		for _, content := range image.Platforms {
			digests[content.Digest] = true
		}
	}
	var running Running
	seen := map[string]bool{}
	look := func(pod *corev1.Pod) {
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses,
			pod.Status.EphemeralContainerStatuses) {
			if status.ImageID == "" {
				running.Pending++
				continue
			}
			running.Containers++
			_, digest, _ := strings.Cut(status.ImageID, "@")
			if digests[digest] || seen[status.Image+status.ImageID] {
				continue
			}
			seen[status.Image+status.ImageID] = true
			running.Findings = append(running.Findings, unlocked(pod, status, digest, names))
		}
	}
	for _, namespace := range slices.Compact(slices.Sorted(slices.Values(namespaces))) {
		if err := kube.Each(ctx, client, kube.Pods, namespace, metav1.ListOptions{}, look); err != nil {
			return running, fmt.Errorf("list the pods of namespace %s: %w", namespace, err)
		}
	}
	slices.SortFunc(running.Findings, func(a, b finding.Finding) int { return strings.Compare(a.Found, b.Found) })
	return running, nil
}

// unlocked explains why an image is not in the lock.
func unlocked(pod *corev1.Pod, status corev1.ContainerStatus, digest string, names map[string]string) finding.Finding {
	what := digest
	if what == "" {
		what = status.ImageID
	}
	f := finding.Finding{ID: finding.ImagesUnlocked, Severity: finding.Error,
		Object: "Pod " + pod.Namespace + "/" + pod.Name,
		Found: fmt.Sprintf("container %s of Pod %s/%s runs %s (%s)", status.Name, pod.Namespace, pod.Name,
			status.Image, what)}
	full, err := fullName(status.Image)
	locked, known := names[pathOf(full)]
	switch {
	case digest == "":
		f.Why = "its node did not pull the image from a registry, and knows no digest of it"
		f.Fix = "remove the image from the node, so that it is pulled; where images are imported into nodes instead, this " +
			"command can't compare them: import them again from files that were checked"
	case err == nil && known:
		f.Why = "the lock has another digest for " + locked
		f.Fix = "pin the digests with helm neutree images lock --values-only, or write the lock again"
	default:
		f.Why = "no image of this name is in the lock"
		f.Fix = "write the lock with the values of this release, or remove the pod"
	}
	return f
}

// pathOf is a reference without its registry and its digest: a mirror has the same path.
func pathOf(ref string) string {
	_, path, _ := strings.Cut(ref, "/")
	path, _, _ = strings.Cut(path, "@")
	return path
}
