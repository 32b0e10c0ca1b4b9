package images_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	helmvalues "helm.sh/helm/v3/pkg/cli/values"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/images"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// load renders a chart without a cluster.
func load(t *testing.T, path string, values helmvalues.Options) *requirement.Set {
	t.Helper()
	set, err := requirement.Load(requirement.Options{
		Chart: path, Release: "neutree", Namespace: "nap", Values: values,
		Kubernetes: chart.Kubernetes{Version: images.DefaultKubernetes},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func list(t *testing.T, path string, values helmvalues.Options) *images.List {
	t.Helper()
	listed, err := images.Of(load(t, path, values))
	if err != nil {
		t.Fatal(err)
	}
	return listed
}

func refs(l *images.List) []string {
	var all []string
	for _, image := range l.Images {
		all = append(all, image.Ref)
	}
	return all
}

const marker = "every-image.example:5000"

// marked are the values with which each image that the release names is of the registry marker, so that each place that
// names one can be found.
var marked = []string{
	"global.imageRegistry=" + marker, "cloudnative-pg.image.repository=" + marker + "/cloudnative-pg/cloudnative-pg",
}

// Each image that any manifest names, wherever it does, is in the list, and nothing else is.
func TestListHasEveryImageOfTheManifests(t *testing.T) {
	umbrella := requirementtest.Umbrella(t)
	situations, err := filepath.Glob(filepath.Join(umbrella, "ci", "*-values.yaml"))
	if err != nil || len(situations) < 10 {
		t.Fatalf("%d values files: %v", len(situations), err)
	}
	type situation struct {
		name   string
		values helmvalues.Options
	}
	cases := []situation{{"everything that there is", images.EveryModule(helmvalues.Options{Values: marked})},
		{"another image for backups", helmvalues.Options{Values: marked, JSONValues: []string{
			`global.backup.image={"registry":"docker.io","repository":"tools/postgresql","tag":"17.2"}`}}}}
	for _, file := range situations {
		cases = append(cases, situation{filepath.Base(file), helmvalues.Options{ValueFiles: []string{file}, Values: marked}})
	}
	reference := regexp.MustCompile(regexp.QuoteMeta(marker) + `/[\w./-]+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?`)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set := load(t, umbrella, c.values)
			listed, err := images.Of(set)
			if err != nil {
				t.Fatal(err)
			}
			known, seen := refs(listed), map[string]bool{}
			for _, object := range set.Objects {
				for _, ref := range reference.FindAllString(text(t, object), -1) {
					if agent := marker + "/neutree-ai/agent-platform/nap-agent"; ref == agent {
						// The runner adds the type of the agent.
						for _, kind := range platform.AgentTypes {
							seen[agent+"-"+kind+":v0.2.0"] = true
						}
						continue
					}
					seen[ref] = true
				}
			}
			for ref := range seen {
				if !slices.Contains(known, ref) {
					t.Errorf("%s is named by a manifest and not listed", ref)
				}
			}
			for _, image := range listed.Images {
				if !seen[image.Ref] && !slices.ContainsFunc(image.Uses, func(u images.Use) bool { return u.Object == "OpenSandbox" }) {
					t.Errorf("%s is listed and no manifest names it: %+v", image.Ref, image.Uses)
				}
				for _, use := range image.Uses {
					if use.Value == "" || use.Component == "" || use.Object == "" {
						t.Errorf("%s: not all is said about %+v", image.Ref, use)
					}
				}
			}
			if !slices.IsSorted(known) || len(slices.Compact(known)) != len(listed.Images) {
				t.Errorf("not sorted, or an image twice: %v", known)
			}
		})
	}
}

// text is all that an object says, except the list of all images in the specification of backups: a backup contains it as
// information, and nothing pulls them for it.
func text(t *testing.T, object requirement.Object) string {
	t.Helper()
	content := object.DeepCopy().Object
	if spec, found, _ := unstructured.NestedString(content, "data", "backup.yaml"); found {
		parsed := map[string]any{}
		if err := yaml.Unmarshal([]byte(spec), &parsed); err != nil {
			t.Fatal(err)
		}
		delete(parsed, "images")
		if err := unstructured.SetNestedField(content, fmt.Sprint(parsed), "data", "backup.yaml"); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprint(content)
}

func TestEveryModuleIsTheBillOfMaterials(t *testing.T) {
	// Values that switch off what --all is to list.
	values := helmvalues.Options{Values: []string{"cloudnative-pg.enabled=false"}}
	got := refs(list(t, requirementtest.Umbrella(t), images.EveryModule(values)))
	var want []string
	for _, image := range slices.Concat(platform.Images(), platform.ModuleImages()) {
		want = append(want, image.Ref())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("listed:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Sandboxes run these images whether or not the warmer pulls them beforehand.
func TestListHasTheImagesOfSandboxesWithoutTheWarmer(t *testing.T) {
	umbrella := requirementtest.Umbrella(t)
	on := list(t, umbrella, helmvalues.Options{Values: []string{
		"global.modules.sandbox.enabled=true", "sandbox.openSandbox.url=http://o.o.svc"}})
	node := on.Why("library/node")
	if len(node) != 1 || len(node[0].Uses) != 1 || node[0].Uses[0] != (images.Use{
		Object: "OpenSandbox", Component: "sandboxes", Value: "sandbox.imageWarmer.images[0]", RunTime: true}) {
		t.Errorf("images of sandboxes: %+v", node)
	}
	if off := list(t, umbrella, helmvalues.Options{}); len(off.Why("library/node")) > 0 {
		t.Error("without the module, images of sandboxes are listed")
	}
}

func TestListNamesImagesInFull(t *testing.T) {
	const digest = "@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	umbrella := requirementtest.Umbrella(t)
	for short, full := range map[string]string{
		"busybox":                        "docker.io/library/busybox:latest",
		"docker.io/nginx:1.29":           "docker.io/library/nginx:1.29",
		"localhost:5000/own/tool":        "localhost:5000/own/tool:latest",
		"own/tool:v1" + digest:           "docker.io/own/tool:v1" + digest,
		"registry.example/tool" + digest: "registry.example/tool" + digest,
	} {
		pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: extra}\nspec: {containers: [{name: a, image: '" + short + "'}]}"
		values := helmvalues.Options{LiteralValues: []string{"extraObjects[0]=" + pod}}
		if raw := list(t, umbrella, values); len(raw.Why(full)) != 1 {
			t.Errorf("%s is not listed as %s: %v", short, full, refs(raw))
		}
	}
}

func TestListRefusesWhatIsNoReference(t *testing.T) {
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: extra}\nspec: {containers: [{name: a, image: 'Not An Image'}]}"
	values := helmvalues.Options{LiteralValues: []string{"extraObjects[0]=" + pod}}
	_, err := images.Of(load(t, requirementtest.Umbrella(t), values))
	if err == nil || !strings.Contains(err.Error(), `Pod extra: image "Not An Image" is no reference that a registry knows`) {
		t.Errorf("error: %v", err)
	}
}

func TestFormats(t *testing.T) {
	const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	l := &images.List{Chart: images.Chart{Name: "neutree", Version: "1.0.0"}, Images: []images.Image{
		{Ref: "docker.io/library/node:22", Uses: []images.Use{
			{Object: "OpenSandbox", Component: "sandboxes", Value: "sandbox.x", RunTime: true},
		}},
		{Ref: "ghcr.io/a/b:v1", Uses: []images.Use{{Object: "Deployment b", Component: "b\x1b[2J"}}},
		{Ref: "ghcr.io/a/b:v1@" + digest},
		{Ref: "ghcr.io/c@" + digest},
	}}
	for _, c := range []struct {
		format images.Format
		want   string
	}{
		{images.Format{Name: "text"}, "docker.io/library/node:22\nghcr.io/a/b:v1\nghcr.io/a/b:v1@" + digest + "\nghcr.io/c@" + digest + "\n"},
		{images.Format{Name: "wide"}, "IMAGE                      PULLED          BY            FOR        VALUE\n" +
			"docker.io/library/node:22  at run time     OpenSandbox   sandboxes  sandbox.x\n" +
			"ghcr.io/a/b:v1             by the release  Deployment b  b^[[2J      -\n"},
		{images.Format{Name: "crane", To: "r.example/m/"}, "crane copy docker.io/library/node:22 r.example/m/library/node:22\n" +
			"crane copy ghcr.io/a/b:v1 r.example/m/a/b:v1\n" +
			"crane copy ghcr.io/a/b:v1@" + digest + " r.example/m/a/b:v1\n" +
			"crane copy ghcr.io/c@" + digest + " r.example/m/c@" + digest + "\n"},
		{images.Format{Name: "skopeo"}, "docker.io:\n  images:\n    library/node:\n    - \"22\"\n" +
			"ghcr.io:\n  images:\n    a/b:\n    - v1\n    - " + digest + "\n    c:\n    - " + digest + "\n"},
		{images.Format{Name: "hauler"}, "apiVersion: content.hauler.cattle.io/v1\nkind: Images\n" +
			"metadata:\n  name: neutree\nspec:\n  images:\n" +
			"  - name: docker.io/library/node:22\n  - name: ghcr.io/a/b:v1\n  - name: ghcr.io/a/b:v1@" + digest + "\n" +
			"  - name: ghcr.io/c@" + digest + "\n"},
	} {
		var got strings.Builder
		if err := l.Write(&got, c.format); err != nil {
			t.Errorf("%s: %v", c.format.Name, err)
		}
		if got.String() != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.format.Name, got.String(), c.want)
		}
	}
	var raw strings.Builder
	if err := l.Write(&raw, images.Format{Name: "json"}); err != nil || !strings.Contains(raw.String(), `"image": "ghcr.io/a/b:v1"`) ||
		!strings.Contains(raw.String(), `"runTime": true`) || !strings.Contains(raw.String(), `"version": "1.0.0"`) {
		t.Errorf("json: %v\n%s", err, raw.String())
	}
}
