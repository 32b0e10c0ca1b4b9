package chart_test

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
)

// images are all images that a release pulls or tells others to pull, each once, with where it is named.
func images(t *testing.T, objects []chart.Object) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, p := range pods(t, withoutCRDs(objects)) {
		for _, c := range p.containers() {
			found[c.Image] = p.from.String() + " container " + c.Name
			set := variables(t, p, c)
			for _, image := range platform.RuntimeImages() {
				env, ok := set[image.Variable]
				switch {
				case ok && image.Image == "agent":
					for _, kind := range platform.AgentTypes {
						found[env.Value+"-"+kind+":"+set["AGENT_IMAGE_TAG"].Value] = p.from.String() + " " + image.Variable
					}
				case ok:
					found[env.Value] = p.from.String() + " " + image.Variable
				}
			}
		}
	}
	if image, ok, _ := unstructured.NestedString(cluster(t, objects).Object, "spec", "imageName"); ok {
		found[image] = "Cluster spec.imageName"
	}
	return found
}

func withoutCRDs(objects []chart.Object) []chart.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(o chart.Object) bool {
		return o.GetKind() == "CustomResourceDefinition"
	})
}

// cluster is the database that bootstrap applies.
func cluster(t *testing.T, objects []chart.Object) *unstructured.Unstructured {
	t.Helper()
	config := find[*corev1.ConfigMap](t, withoutCRDs(objects), namespace, specConfigMap(t, bootstrapJob(t, objects)))
	manifest := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(config.Data["cluster.yaml"]), &manifest.Object); err != nil {
		t.Fatalf("ConfigMap %s: cluster.yaml: %v", config.Name, err)
	}
	return manifest
}

func TestImagesAreTheBillOfMaterials(t *testing.T) {
	found := images(t, renderAll(t).Objects)
	for _, image := range slices.Concat(platform.Images(), platform.ModuleImages()) {
		if _, ok := found[image.Ref()]; !ok {
			t.Errorf("no object names the image %s (%s)", image.Ref(), image.Key)
		}
		delete(found, image.Ref())
	}
	for image, where := range found {
		t.Errorf("%s: image %q is not in the bill of materials", where, image)
	}
}

func TestNoImageFloats(t *testing.T) {
	for image, where := range images(t, renderAll(t).Objects) {
		_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		floats := !tagged || tag == "" || tag == "latest"
		// AFS publishes no release tags.
		if floats && !strings.Contains(image, "/neutree-ai/afs:") {
			t.Errorf("%s: image %q is not pinned", where, image)
		}
	}
}

func TestRegistryMovesEveryImage(t *testing.T) {
	const registry = "registry.example.org:5000"
	moved := images(t, renderAll(t, "global.imageRegistry="+registry).Objects)
	for _, image := range slices.Concat(platform.Images(), platform.ModuleImages()) {
		want := registry + "/" + strings.TrimPrefix(image.Ref(), image.Registry+"/")
		if image.Key == operator {
			// The operator's chart knows no global registry: its own value moves it.
			want = image.Ref()
		}
		if _, ok := moved[want]; !ok {
			t.Errorf("global.imageRegistry=%s: no object names %s (%s)", registry, want, image.Key)
		}
		delete(moved, want)
	}
	for image, where := range moved {
		t.Errorf("%s: image %q stayed behind", where, image)
	}
}

func TestDigestPinsAnImage(t *testing.T) {
	const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	found := images(t, render(t, "global.images.gateway.digest="+digest, "global.hooks.image.digest="+digest).Objects)
	for _, want := range []string{
		"ghcr.io/neutree-ai/agent-platform/nap-cg:v0.2.0@" + digest,
		platform.HooksImage.Ref() + "@" + digest,
	} {
		if _, ok := found[want]; !ok {
			t.Errorf("no object names %s", want)
		}
	}
}

func TestPullSecretsReachEveryPod(t *testing.T) {
	objects := renderAll(t, "global.imagePullSecrets[0].name=regcred").Objects
	for _, p := range pods(t, ours(objects)) {
		if !slices.Contains(p.spec().ImagePullSecrets, corev1.LocalObjectReference{Name: "regcred"}) {
			t.Errorf("%s: spec.imagePullSecrets = %v, want regcred among them", p.from, p.spec().ImagePullSecrets)
		}
	}
	secrets, _, _ := unstructured.NestedSlice(cluster(t, objects).Object, "spec", "imagePullSecrets")
	if len(secrets) != 1 || secrets[0].(map[string]any)["name"] != "regcred" {
		t.Errorf("Cluster: spec.imagePullSecrets = %v, want regcred", secrets)
	}
	if got := bootstrapSpec(t, objects).Workspaces.PullSecrets; !slices.Equal(got, []string{"regcred"}) {
		t.Errorf("bootstrap.yaml: workspaces.pullSecrets = %v, want regcred", got)
	}
	runner := podOf(t, objects, "Deployment", "nap-env-runner-k8s")
	if got := variables(t, runner, runner.container(t, "env-runner-k8s"))["IMAGE_PULL_SECRET"].Value; got != "regcred" {
		t.Errorf("nap-env-runner-k8s: IMAGE_PULL_SECRET = %q, want regcred", got)
	}
}
