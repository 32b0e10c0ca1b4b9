package images

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func image(ref string) requirement.Image {
	return requirement.Image{Ref: ref, Why: "a service", Value: "global.images.x", PullSecrets: []string{"regcred"}}
}

func TestTags(t *testing.T) {
	for _, tc := range []struct {
		ref   string
		words []string
	}{
		{ref: "ghcr.io/neutree-ai/agent-platform/nap-cp:v0.2.0"},
		{ref: "ghcr.io/neutree-ai/afs@sha256:" + strings.Repeat("a", 64)},
		{ref: "ghcr.io/neutree-ai/afs:latest", words: []string{`is named by the tag "latest" -> no release tag of AFS is known: pin what you tested by its digest in global.images.x`}},
		{ref: "ghcr.io/x/y", words: []string{`is named by the tag "latest" -> set a tag of a release, or a digest`}},
		{ref: "ghcr.io/x/y:main", words: []string{`is named by the tag "main"`}},
		{ref: "ghcr.io/X/y:v1", words: []string{`error: "ghcr.io/X/y:v1", for a service, is no image reference`}},
	} {
		t.Run(tc.ref, func(t *testing.T) { checktest.Want(t, tags([]requirement.Image{image(tc.ref)}), tc.words...) })
	}
}

func TestArchitectures(t *testing.T) {
	node := func(name, arch string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelArchStable: arch}}}
	}
	cp := []requirement.Image{image("mirror.example.com/neutree-ai/agent-platform/nap-cp:v0.2.0")}
	checktest.Want(t, architectures([]corev1.Node{node("a", "amd64")}, cp))
	checktest.Want(t, architectures([]corev1.Node{node("a", "arm64")}, []requirement.Image{image("ghcr.io/neutree-ai/agent-platform/nap-cp:v9")}))
	checktest.Want(t, architectures([]corev1.Node{node("a", "arm64")}, cp), "is published for amd64, and 1 of 1 nodes that may run it are of another architecture (arm64, first a)")
	checktest.Want(t, architectures([]corev1.Node{node("a", "arm64"), node("b", "amd64")}, cp), "warning: image mirror.example.com")
	kept := cp[0]
	kept.NodeSelector = map[string]string{corev1.LabelArchStable: "amd64"}
	checktest.Want(t, architectures([]corev1.Node{node("a", "arm64"), node("b", "amd64")}, []requirement.Image{kept}))
}

func TestPullSecrets(t *testing.T) {
	secret := func(kind, data string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: regcred, namespace: nap}\ntype: " + kind + "\nstringData: {}\ndata: {.dockerconfigjson: " + data + "}"
	}
	const (
		docker  = "kubernetes.io/dockerconfigjson"
		ghcr    = "eyJhdXRocyI6eyJodHRwczovL2doY3IuaW8vdjEiOnsiYXV0aCI6IngifX19" // {"auths":{"https://ghcr.io/v1":{"auth":"x"}}}
		other   = "eyJhdXRocyI6eyJxdWF5LmlvIjp7ImF1dGgiOiJ4In19fQ=="             // {"auths":{"quay.io":{"auth":"x"}}}
		garbage = "c2VjcmV0"                                                     // secret
	)
	set := &requirement.Set{Namespace: "nap", Images: []requirement.Image{image("ghcr.io/x/y:v1")}}
	for _, tc := range []struct {
		name, object string
		words        []string
	}{
		{name: "fits", object: secret(docker, ghcr)},
		{name: "missing", words: []string{"pull secret regcred does not exist in namespace nap -> log in with docker login " +
			"ghcr.io, and make it of the file where that keeps the login: kubectl create secret generic regcred --namespace nap " +
			"--type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=FILE"}},
		{name: "of another type", object: secret("Opaque", ghcr), words: []string{"is of type Opaque, not kubernetes.io/dockerconfigjson"}},
		{name: "for another registry", object: secret(docker, other), words: []string{"warning: pull secret regcred has a login for none of the registries that images come from: ghcr.io"}},
		{name: "no JSON", object: secret(docker, garbage), words: []string{"holds no JSON that a login can be read from"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checktest.Want(t, checktest.Run(t, Checks(), "images.secret", checktest.Subject(t, kubetest.New(t, tc.object), set)), tc.words...)
		})
	}
	for key, want := range map[string]bool{"docker.io": true, "https://index.docker.io/v1/": true, "ghcr.io": false} {
		if logsInto(key, "index.docker.io") != want {
			t.Errorf("%s logs into Docker Hub: want %v", key, want)
		}
	}
	if !logsInto("*.example.com", "mirror.example.com") {
		t.Error("a pattern is not understood")
	}
}
