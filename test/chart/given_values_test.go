package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/test/valuegen"
)

// renderText renders with the text of a values file.
func renderText(t *testing.T, text string, to target) (*chart.Rendered, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	to.files = append([]string{path}, to.files...)
	return tryRender(to)
}

// Names that YAML reads as something else than text are refused, or come out as text.
func TestNamesThatYAMLTakesForSomethingElse(t *testing.T) {
	for _, name := range []string{"2026", "1e3", "0x1f", "on", "off", "yes", "no", "y", "n", "null", "true"} {
		for _, c := range []struct{ release, namespace, what string }{
			{name, namespace, "the name of the release is " + name},
			{releaseName, name, "the name of its namespace (helm --namespace) is " + name},
		} {
			if _, err := tryRender(target{release: c.release, namespace: c.namespace}); err == nil ||
				!strings.Contains(err.Error(), c.what) {
				t.Errorf("release %s in namespace %s: %v, want %q", c.release, c.namespace, err, c.what)
			}
		}
	}
	source := generator(t)
	for _, leaf := range source.Names() {
		values := map[string]any{}
		valuegen.Set(values, leaf.Path, "456")
		rendered, err := renderValues(values)
		if err != nil {
			wantContradiction(t, source, values, err)
			continue
		}
		for _, object := range ours(rendered.Objects) {
			typed(t, object)
		}
	}
}

func TestHostsAreInLowerCase(t *testing.T) {
	for _, set := range []string{"global.host=NAP.Example.com", "global.publicUrls.web=https://NAP.Example.com"} {
		objects := render(t, set, "global.exposure.type=ingress",
			"global.publicUrls.files=https://Files.NAP.example.com").Objects
		for _, object := range objects {
			if ingress, ok := object.Object["kind"]; ok && ingress == "Ingress" {
				for _, rule := range typed(t, object).(*networkingv1.Ingress).Spec.Rules {
					if errs := validation.IsDNS1123Subdomain(rule.Host); len(errs) > 0 {
						t.Errorf("%s: host %q: %v", object, rule.Host, errs)
					}
				}
			}
		}
		cp := podOf(t, objects, "Deployment", "nap-cp").container(t, "control-plane")
		for _, env := range cp.Env {
			if env.Name == "WEB_PUBLIC_URL" && env.Value != "https://nap.example.com" {
				t.Errorf("%s: WEB_PUBLIC_URL is %s", set, env.Value)
			}
		}
	}
}

// A key whose children are commented out is empty, as if it had never been set.
func TestKeysLeftEmptyAreEmpty(t *testing.T) {
	got, err := renderText(t, `
global:
  host:
  imagePullSecrets:
  commonLabels:
  publicUrls:
    web:
  scheduling:
    nodeSelector:
    tolerations:
  hooks:
    extraEnv:
    podLabels:
controlPlane:
  cp:
    extraEnv:
    nodeSelector:
extraObjects:
`, target{})
	if err != nil {
		t.Fatal(err)
	}
	want := render(t)
	for i, object := range want.Objects {
		if i >= len(got.Objects) || got.Objects[i].YAML != object.YAML {
			t.Fatalf("%s differs from a render without these keys", object)
		}
	}
}

// Values that --reuse-values kept of an earlier version lack the keys that came since: that is said, with the way out.
func TestValuesOfAnotherVersion(t *testing.T) {
	_, err := tryRender(target{set: []string{"global.rollout=null", "global.upgrade=null",
		"global.backup.retention=null"}})
	want := "- global.backup.retention, global.rollout, global.upgrade: no value."
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--reset-then-reuse-values") {
		t.Errorf("%v, want %q and the option", err, want)
	}
}

// A null deep under global never reaches a template: what was to be taken away stays, and preflight names it. Below
// the key of a subchart it does what it says.
func TestNullsThatHelmDrops(t *testing.T) {
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(`
global:
  exposure: {nodePorts: {web: null}}
  hooks: {resources: {limits: {cpu: null}}}
  imagePullSecrets: null
  workspaces: {sidecarResources: null}
controlPlane:
  cp: {resources: {limits: {cpu: null}}}
`), &values); err != nil {
		t.Fatal(err)
	}
	nulls := chart.Nulls(values)
	rendered, err := renderValues(values)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"global.exposure.nodePorts.web", "global.hooks.resources.limits.cpu"}
	if got := rendered.Kept(nulls); !slices.Equal(got, want) {
		t.Errorf("of %v these keep their defaults: %v, want %v", nulls, got, want)
	}
}

// Prometheus has templates too: those of an object are its own.
func TestObjectsAreTakenAsTheyAre(t *testing.T) {
	rule := `
extraObjects:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: rules}
    data: {summary: "{{ $labels.instance }} is down for {{ $value }} {{ .CommonLabels.a }}"}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "text-{{ .Release.Name }}"}
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: "old-{{ .Release.Name }}"}
`
	rendered, err := renderText(t, rule, target{})
	if err != nil {
		t.Fatal(err)
	}
	config := find[*corev1.ConfigMap](t, rendered.Objects, namespace, "rules")
	if got, want := config.Data["summary"], "{{ $labels.instance }} is down for {{ $value }} {{ .CommonLabels.a "+
		"}}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	find[*corev1.ConfigMap](t, rendered.Objects, namespace, "text-"+releaseName)
	find[*corev1.ConfigMap](t, rendered.Objects, namespace, "old-"+releaseName)
	if want := "ConfigMap old-{{ .Release.Name }} of extraObjects is a mapping with " +
		"templates"; !strings.Contains(rendered.Notes, want) {
		t.Errorf("notes do not warn:\n%s", rendered.Notes)
	}
}

// Kubernetes expands what the chart writes, and nothing that a value holds.
func TestValuesAreNotExpanded(t *testing.T) {
	const evil = "$(CREDENTIAL_ENCRYPTION_KEY)"
	objects := renderAll(t, "global.modules.ldap.enabled=true", "global.ldap.url=ldaps://ldap.example.com",
		"global.ldap.existingSecret=bind",
		"global.ldap.bindDN="+evil, "global.ldap.searchBase="+evil, "global.ldap.searchFilter=("+evil+")", "global.ldap.attributes.username=uid",
		"global.ldap.attributes.name="+evil, "global.ldap.attributes.email="+evil, "global.admin.displayName="+evil,
		"controlPlane.cp.proxy.http=http://proxy:3128", "controlPlane.cp.proxy.noProxy[0]="+evil,
		"global.proxy.noProxy[0]="+evil).Objects
	escaped := 0
	for _, object := range ours(objects) {
		for _, at := range regexp.MustCompile(`\$*\$\(CREDENTIAL_ENCRYPTION_KEY\)`).FindAllString(object.YAML, -1) {
			if escaped++; at != "$"+evil {
				t.Errorf("%s: %s is expanded", object, at)
			}
		}
	}
	if escaped < 7 {
		t.Errorf("%d values were looked at", escaped)
	}
}

// The deletion of data is asked for one revision; carried to another by --reuse-values or a file it does nothing, and
// the notes say so.
func TestDeletionIsAskedForOneRevision(t *testing.T) {
	rendered := render(t, "uninstall.deleteData="+releaseName+"@7")
	for _, object := range rendered.Objects {
		if strings.HasSuffix(object.GetName(), "-delete") {
			t.Errorf("%s is rendered", object)
		}
	}
	want := "uninstall.deleteData is neutree@7 and this is revision 1: helm uninstall keeps all data. To delete it, " +
		"set\nuninstall.deleteData=neutree@2"
	if !strings.Contains(rendered.Notes, want) {
		t.Errorf("notes:\n%s\nwant %q", rendered.Notes, want)
	}
	if notes := render(t, deleteData).Notes; !strings.Contains(notes, "helm uninstall DELETES ALL DATA") {
		t.Errorf("notes:\n%s", notes)
	}
}
