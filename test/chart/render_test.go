package chart_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestObjectsFitTheirTypes(t *testing.T) {
	for name, to := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for _, object := range ours(renderFor(t, to).Objects) {
				typed(t, object)
				id := fmt.Sprint(object.GroupVersionKind(), namespaceOf(object), object.GetName())
				if seen[id] {
					t.Errorf("%s: rendered twice", object)
				}
				seen[id] = true
			}
		})
	}
}

func TestOperatorIsOptional(t *testing.T) {
	for _, object := range render(t, "cloudnative-pg.enabled=false").Objects {
		if strings.Contains(object.Source, "/charts/"+operator+"/") {
			t.Errorf("cloudnative-pg.enabled=false: %s is rendered", object)
		}
	}
}

func TestRendersAreEqual(t *testing.T) {
	first, second := text(renderAll(t)), text(renderAll(t))
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("two renders differ (-first +second):\n%s", diff)
	}
}

func TestKubernetesVersions(t *testing.T) {
	want := text(renderAll(t))
	for _, version := range []string{"1.28", "1.30", "1.34", "1.37", "v1.28.15+k3s1"} {
		t.Run(version, func(t *testing.T) {
			if diff := cmp.Diff(want, text(renderFor(t, target{set: everyModule, kubernetes: version}))); diff != "" {
				t.Errorf("Kubernetes %s gets other objects than %s:\n%s", version, kubernetes, diff)
			}
		})
	}
}

func TestOldKubernetesIsRefused(t *testing.T) {
	_, err := tryRender(target{kubernetes: "1.27.16"})
	if err == nil || !strings.Contains(err.Error(), ">=1.28") || !strings.Contains(err.Error(), "1.27.16") {
		t.Errorf("Kubernetes 1.27.16: %v, want a refusal that names >=1.28 and 1.27.16", err)
	}
}

func TestUpgradeAppliesTheSame(t *testing.T) {
	if diff := cmp.Diff(text(renderAll(t)), text(renderFor(t, target{set: everyModule, upgrade: true}))); diff != "" {
		t.Errorf("an upgrade renders something else than an install (-install +upgrade):\n%s", diff)
	}
}

func TestNotes(t *testing.T) {
	ldap := "global.modules.ldap.enabled=true,global.ldap.url=ldap://directory,global.ldap.bindDN=cn=reader,global.ldap.existingSecret=directory,global.ldap.searchBase=dc=example,global.ldap.attributes.username=uid"
	ldap = strings.ReplaceAll(ldap, "cn=", `cn\=`)
	tests := map[string]struct {
		to   target
		want []string
		not  []string
	}{
		"nothing set": {want: []string{"http://localhost:30080", "global.host is empty", "nap-admin", "component=bootstrap", platform.HooksImage.Ref(),
			"/metrics", "/mcp", "adds a provider", "helm test neutree --namespace nap"}, not: []string{"directory"}},
		"a host and an own Secret": {to: target{set: []string{"global.host=nap.example.org", "global.admin.existingSecret=my-admin"}},
			want: []string{"http://nap.example.org:30080", "kubectl -n nap get secret my-admin"}, not: []string{"global.host is empty"}},
		"an address":  {to: target{set: []string{"global.host=10.0.0.10"}}, want: []string{"http://10.0.0.10:30080", "global.publicUrls.files"}},
		"inside only": {to: target{set: []string{"global.exposure.type=clusterIP"}}, want: []string{"port-forward service/nap-cp 3000", "global.publicUrls.web"}, not: []string{"node port"}},
		"an Ingress of one's own": {to: target{set: []string{"global.exposure.type=clusterIP", "global.publicUrls.web=https://nap.example.org"}},
			want: []string{"https://nap.example.org", "Service nap-cp, port 3000"}},
		"an Ingress": {to: target{set: []string{"global.exposure.type=ingress", "global.exposure.ingress.className=nginx", "global.host=nap.example.org"}},
			want: []string{"https://nap.example.org", "files.nap.example.org", "Ingress controller", "https://nap.example.org/webhook/"}, not: []string{"What the Ingress controller cuts off"}},
		"an unknown controller": {to: target{set: []string{"global.exposure.type=ingress", "global.host=nap.example.org"}}, want: []string{"global.exposure.ingress.controller"}},
		"a Gateway": {to: target{set: []string{"global.exposure.type=gateway", "global.exposure.gateway.parentRefs[0].name=edge", "global.host=nap.example.org"}},
			want: []string{"https://nap.example.org", "Gateway"}},
		"a directory in the clear": {to: target{set: []string{ldap}}, want: []string{"in the clear", "when one of them logs in"}},
		"all modules":              {to: target{set: everyModule}, want: []string{"203.0.113.10", "coturn-external"}},
		"an upgrade":               {to: target{upgrade: true}, want: []string{"revision 1", "helm test"}, not: []string{"adds a provider"}},
		"a mirror":                 {to: target{set: []string{"global.imageRegistry=registry.example.org"}}, want: []string{"cloudnative-pg.image.repository"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			notes := renderFor(t, test.to).Notes
			for _, want := range test.want {
				if !strings.Contains(notes, want) {
					t.Errorf("NOTES.txt does not speak of %q:\n%s", want, notes)
				}
			}
			for _, not := range test.not {
				if strings.Contains(notes, not) {
					t.Errorf("NOTES.txt speaks of %q:\n%s", not, notes)
				}
			}
		})
	}
}

// text is what each template renders to.
func text(rendered *chart.Rendered) map[string]string {
	byTemplate := map[string]string{}
	for _, object := range ours(rendered.Objects) {
		byTemplate[object.Source] += "---\n" + strings.TrimSpace(object.YAML) + "\n"
	}
	return byTemplate
}

// goldens hold what the defaults render to, and of all modules behind an Ingress and behind a Gateway what is otherwise.
const goldens = "testdata/golden"

// TestGolden shows what a change of the chart does to the objects. go test ./test/chart -update accepts it.
func TestGolden(t *testing.T) {
	defaults := text(render(t))
	got := maps.Clone(defaults)
	for name, set := range map[string][]string{
		"ingress": {"global.exposure.type=ingress", "global.exposure.ingress.className=nginx", "global.host=nap.example.org"},
		"gateway": {"global.exposure.type=gateway", "global.exposure.gateway.parentRefs[0].name=edge", "global.host=nap.example.org"},
	} {
		for source, content := range text(renderAll(t, set...)) {
			if content != defaults[source] {
				got[name+"/"+source] = content
			}
		}
	}
	if *update {
		if err := os.RemoveAll(goldens); err != nil {
			t.Fatal(err)
		}
	}
	for source, content := range got {
		path := filepath.Join(goldens, filepath.FromSlash(source))
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%s has no golden file; run go test ./test/chart -update: %v", source, err)
		} else if !bytes.Equal(want, []byte(content)) {
			t.Errorf("%s renders otherwise than its golden file (-want +got):\n%s", source, cmp.Diff(string(want), content))
		}
	}
	for _, source := range goldenFiles(t) {
		if _, rendered := got[source]; !rendered {
			t.Errorf("%s/%s is of a template that renders nothing any more (rendered: %v)", goldens, source, slices.Sorted(maps.Keys(got)))
		}
	}
}

func goldenFiles(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(goldens, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			relative, _ := filepath.Rel(goldens, path)
			found = append(found, filepath.ToSlash(relative))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
