package cnpgchart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

const umbrella = "../../../../charts/neutree"

func compose(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := Compose(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, Name)
}

// objects maps "<kind>/<name>" to what a render holds under that name.
type objects map[string]document

func (o objects) names(kind string) []string {
	var names []string
	for key := range o {
		if name, ok := strings.CutPrefix(key, kind+"/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func render(t *testing.T, dir, values string) objects {
	t.Helper()
	chart, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	options := chartutil.ReleaseOptions{Name: "neutree", Namespace: "nap", IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, given, options, chartutil.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		t.Fatal(err)
	}
	found := objects{}
	for file, text := range files {
		if strings.HasSuffix(file, "NOTES.txt") {
			continue
		}
		documents, err := parse([]byte("\n" + text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, one := range documents {
			key := one.kind() + "/" + one.name()
			if _, twice := found[key]; twice {
				t.Errorf("%s is rendered twice", key)
			}
			found[key] = one
		}
	}
	return found
}

// at follows a path of keys and list positions.
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			switch inside := value.(type) {
			case document:
				value = inside[step]
			case map[string]any:
				value = inside[step]
			default:
				return nil
			}
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

func manifest(t *testing.T) objects {
	t.Helper()
	version, err := embeddedAppVersion()
	if err != nil {
		t.Fatal(err)
	}
	content, err := releaseManifest(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := parse(content)
	if err != nil {
		t.Fatal(err)
	}
	all := objects{}
	for _, one := range documents {
		all[one.kind()+"/"+one.name()] = one
	}
	return all
}

const (
	deployment = "Deployment/neutree-cloudnative-pg"
	mutating   = "MutatingWebhookConfiguration/cnpg-mutating-webhook-configuration"
	validating = "ValidatingWebhookConfiguration/cnpg-validating-webhook-configuration"
)

func TestDeploymentIsTheManifests(t *testing.T) {
	got := render(t, compose(t), "")[deployment]
	want := manifest(t)["Deployment/cnpg-controller-manager"]
	// The operator finds its own Deployment by this label.
	for _, path := range [][]any{{"metadata", "labels"}, {"spec", "selector", "matchLabels"}, {"spec", "template", "metadata", "labels"}} {
		if name := at(got, append(path, "app.kubernetes.io/name")...); name != "cloudnative-pg" {
			t.Errorf("%v has app.kubernetes.io/name %v", path, name)
		}
	}
	container := []any{"spec", "template", "spec", "containers", 0}
	// The manifest lets the configuration be in a Secret or a ConfigMap; the charts have a value for that.
	arguments, _ := at(want, append(container, "args")...).([]any)
	arguments = slices.DeleteFunc(slices.Clone(arguments), func(argument any) bool {
		return strings.HasPrefix(fmt.Sprint(argument), "--secret-name=")
	})
	if diff := cmp.Diff(arguments, at(got, append(container, "args")...)); diff != "" {
		t.Errorf("container's arguments (-manifest +chart):\n%s", diff)
	}
	// The charts name the port where the manifest has its number.
	for _, probe := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
		if port := at(got, append(container, probe, "httpGet", "port")...); port != "webhook-server" {
			t.Errorf("container's %s asks port %v", probe, port)
		}
	}
	for _, path := range [][]any{
		{"command"}, {"env"}, {"image"}, {"ports"}, {"volumeMounts"}, {"securityContext"},
		{"livenessProbe", "httpGet", "path"}, {"readinessProbe", "httpGet", "path"},
		{"startupProbe", "failureThreshold"}, {"startupProbe", "periodSeconds"},
	} {
		full := slices.Concat(container, path)
		if at(want, full...) == nil {
			t.Errorf("the manifest's container has no %v", path)
		}
		if diff := cmp.Diff(at(want, full...), at(got, full...)); diff != "" {
			t.Errorf("container's %v (-manifest +chart):\n%s", path, diff)
		}
	}
	for _, field := range []string{"volumes", "securityContext", "terminationGracePeriodSeconds"} {
		if at(want, "spec", "template", "spec", field) == nil {
			t.Errorf("the manifest's pod has no %s", field)
		}
		if diff := cmp.Diff(at(want, "spec", "template", "spec", field), at(got, "spec", "template", "spec", field), byName()); diff != "" {
			t.Errorf("pod's %s (-manifest +chart):\n%s", field, diff)
		}
	}
}

// byName lets lists of named things be in any order.
func byName() cmp.Option {
	return cmp.Transformer("byName", func(list []any) map[string]any {
		named := map[string]any{}
		for i, one := range list {
			name, ok := at(one, "name").(string)
			if !ok {
				name = fmt.Sprint(i)
			}
			named[name] = one
		}
		return named
	})
}

func TestEverythingIsInTheReleasesNamespace(t *testing.T) {
	all := render(t, compose(t), "")
	for key, one := range all {
		namespaced := !strings.HasPrefix(key, "Cluster") && !strings.HasPrefix(key, "CustomResource") && !strings.Contains(key, "WebhookConfiguration/")
		if namespace := at(one, "metadata", "namespace"); namespaced != (namespace == "nap") {
			t.Errorf("%s is in namespace %v", key, namespace)
		}
	}
	if namespace := at(all["ClusterRoleBinding/neutree-cloudnative-pg"], "subjects", 0, "namespace"); namespace != "nap" {
		t.Errorf("the binding's subject is in namespace %v", namespace)
	}
	released := manifest(t)
	for _, key := range []string{mutating, validating} {
		webhooks, _ := at(all[key], "webhooks").([]any)
		wanted, _ := at(released[key], "webhooks").([]any)
		if len(webhooks) == 0 || len(webhooks) != len(wanted) {
			t.Errorf("%s has %d webhooks, the manifest %d", key, len(webhooks), len(wanted))
		}
		for i := range webhooks {
			want := map[string]any{
				"name": "cnpg-webhook-service", "namespace": "nap", "port": float64(443),
				"path": at(wanted[i], "clientConfig", "service", "path"),
			}
			if diff := cmp.Diff(want, at(webhooks[i], "clientConfig", "service")); diff != "" {
				t.Errorf("%s %d (-want +got):\n%s", key, i, diff)
			}
			if diff := cmp.Diff(at(wanted[i], "rules"), at(webhooks[i], "rules")); diff != "" {
				t.Errorf("%s %d: rules (-manifest +chart):\n%s", key, i, diff)
			}
		}
	}
}

func TestDataIsTheManifests(t *testing.T) {
	dir := compose(t)
	got, want := render(t, dir, ""), manifest(t)
	narrowed := render(t, dir, "crds: {create: false}\nconfig: {clusterWide: false}")
	permissions := map[string]any{}
	flatten(permissions, "rules", at(want["ClusterRole/cnpg-manager"], "rules"))
	for name, rules := range map[string][]any{
		"all namespaces": {at(got["ClusterRole/neutree-cloudnative-pg"], "rules")},
		"one namespace": {at(narrowed["ClusterRole/neutree-cloudnative-pg"], "rules"),
			at(narrowed["Role/neutree-cloudnative-pg"], "rules")},
	} {
		given := map[string]any{}
		for _, one := range rules {
			flatten(given, "rules", one)
		}
		if diff := cmp.Diff(permissions, given); diff != "" {
			t.Errorf("%s: permissions (-manifest +chart):\n%s", name, diff)
		}
	}
	wide := map[string]any{}
	flatten(wide, "rules", at(narrowed["ClusterRole/neutree-cloudnative-pg"], "rules"))
	for _, secrets := range []string{"rules[/secrets  get]", "rules[/pods/exec  create]"} {
		if permissions[secrets] == nil || wide[secrets] != nil {
			t.Errorf("one namespace: %s is of the whole cluster: %t", secrets, wide[secrets] != nil)
		}
	}
	queries := "ConfigMap/cnpg-default-monitoring"
	if diff := cmp.Diff(at(want[queries], "data"), at(got[queries], "data")); diff != "" {
		t.Errorf("queries (-manifest +chart):\n%s", diff)
	}
	for _, name := range want.names("CustomResourceDefinition") {
		key := "CustomResourceDefinition/" + name
		if diff := cmp.Diff(at(want[key], "spec"), at(got[key], "spec")); diff != "" {
			t.Errorf("%s (-manifest +chart):\n%.2000s", name, diff)
		}
		if policy := at(got[key], "metadata", "annotations", "helm.sh/resource-policy"); policy != "keep" {
			t.Errorf("%s has the resource policy %v", name, policy)
		}
	}
}

func TestCRDsAreLeftOut(t *testing.T) {
	all := render(t, compose(t), "crds: {create: false}")
	if crds := all.names("CustomResourceDefinition"); len(crds) > 0 {
		t.Errorf("rendered %v", crds)
	}
	if _, found := all[deployment]; !found {
		t.Error("the operator is gone too")
	}
}

func TestValues(t *testing.T) {
	all := render(t, compose(t), `
image: {repository: registry.example.com/cnpg, tag: "2"}
imagePullSecrets: [{name: regcred}]
nodeSelector: {role: infra}
tolerations: [{key: infra, operator: Exists}]
resources: {limits: {memory: 256Mi}}
config: {clusterWide: false, data: {INHERITED_LABELS: team}}
additionalEnv: [{name: EXTRA, value: "1"}]
monitoring: {podMonitorEnabled: true}
webhook: {validating: {create: false}}
`)
	pod := at(all[deployment], "spec", "template", "spec")
	environment := map[any]any{}
	variables, _ := at(pod, "containers", 0, "env").([]any)
	for _, variable := range variables {
		environment[at(variable, "name")] = at(variable, "value")
	}
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"image", at(pod, "containers", 0, "image"), "registry.example.com/cnpg:2"},
		{"the image that the database's pods get", environment["OPERATOR_IMAGE_NAME"], "registry.example.com/cnpg:2"},
		{"pull secret", at(pod, "imagePullSecrets", 0, "name"), "regcred"},
		{"node selector", at(pod, "nodeSelector", "role"), "infra"},
		{"toleration", at(pod, "tolerations", 0, "key"), "infra"},
		{"memory", at(pod, "containers", 0, "resources", "limits", "memory"), "256Mi"},
		{"watched namespace", environment["WATCH_NAMESPACE"], "nap"},
		{"additional variable", environment["EXTRA"], "1"},
		{"configuration", at(all["ConfigMap/cnpg-controller-manager-config"], "data", "INHERITED_LABELS"), "team"},
		{"pod monitor", at(all["PodMonitor/neutree-cloudnative-pg"], "spec", "podMetricsEndpoints", 0, "port"), "metrics"},
		{"validating webhooks", all[validating] == nil, true},
		{"mutating webhooks", all[mutating] == nil, false},
	} {
		if check.got != check.want {
			t.Errorf("%s: got %v, want %v", check.what, check.got, check.want)
		}
	}
}

func TestUmbrellaIsInstallable(t *testing.T) {
	out := filepath.Join(t.TempDir(), "deeper", "neutree")
	for range 2 { // the second replaces the first
		if err := Umbrella(t.Context(), umbrella, out, ""); err != nil {
			t.Fatal(err)
		}
	}
	chart, err := loader.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	inside := map[string]bool{}
	for _, dependency := range chart.Dependencies() {
		inside[dependency.Name()] = true
	}
	for _, dependency := range chart.Metadata.Dependencies {
		if !inside[dependency.Name] {
			t.Errorf("the copy lacks its dependency %s", dependency.Name)
		}
		if dependency.Name != Name {
			continue
		}
		composed, err := loader.Load(filepath.Join(out, "charts", Name))
		if err != nil {
			t.Fatal(err)
		}
		if composed.Metadata.Version != dependency.Version {
			t.Errorf("the umbrella depends on %s, composed is %s", dependency.Version, composed.Metadata.Version)
		}
		given, _ := chart.Values[Name].(map[string]any)
		for _, unknown := range missing(composed.Values, given, Name) {
			if unknown != Name+".enabled" {
				t.Errorf("the umbrella sets %s, which the composed chart does not have", unknown)
			}
		}
	}
	beside, err := os.ReadDir(filepath.Dir(out))
	if err != nil || len(beside) != 1 {
		t.Errorf("beside the copy: %v, %v", beside, err)
	}
}

// missing lists the paths of given that known does not have. A value that is an empty map takes any key.
func missing(known, given map[string]any, path string) []string {
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(given)) {
		value, found := known[key]
		if !found {
			unknown = append(unknown, path+"."+key)
			continue
		}
		inside, isMap := given[key].(map[string]any)
		if below, ok := value.(map[string]any); ok && isMap && len(below) > 0 {
			unknown = append(unknown, missing(below, inside, path+"."+key)...)
		}
	}
	return unknown
}

func TestUmbrellaLeavesOtherThingsAlone(t *testing.T) {
	for name, file := range map[string]string{"files": "notes.txt", "another chart": "Chart.yaml"} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			precious := filepath.Join(out, file)
			if err := os.WriteFile(precious, []byte("name: other\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := Umbrella(t.Context(), umbrella, out, "")
			if err == nil || !strings.Contains(err.Error(), "name a directory that is empty or not there") {
				t.Errorf("got %v, want a refusal that says what to do", err)
			}
			if _, err := os.Stat(precious); err != nil {
				t.Errorf("the file is gone: %v", err)
			}
		})
	}
	if err := Umbrella(t.Context(), umbrella, umbrella, ""); err == nil || !strings.Contains(err.Error(), "did not write") {
		t.Errorf("onto the chart itself: got %v, want a refusal", err)
	}
	if err := Umbrella(t.Context(), t.TempDir(), t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "Chart.yaml") {
		t.Errorf("without a chart: got %v, want the missing file", err)
	}
}

func TestTemplateMarksInTheManifestStayText(t *testing.T) {
	crd := `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: a.example.com}
spec: {description: "use {{ .Values.x }} here"}`
	files, err := fromManifest([]byte(strings.Join([]string{crd, rest}, "\n---\n")))
	if err != nil {
		t.Fatal(err)
	}
	dir := compose(t)
	if err := os.WriteFile(filepath.Join(dir, "templates", "crds.yaml"), files["templates/crds.yaml"], 0o600); err != nil {
		t.Fatal(err)
	}
	all := render(t, dir, "")
	if got := at(all["CustomResourceDefinition/a.example.com"], "spec", "description"); got != "use {{ .Values.x }} here" {
		t.Errorf("rendered %v", got)
	}
}

// rest is what a manifest holds beside its CustomResourceDefinitions.
const rest = `kind: ClusterRole
metadata: {name: cnpg-manager}
rules: []
---
kind: MutatingWebhookConfiguration
metadata: {name: cnpg-mutating-webhook-configuration}
webhooks: []
---
kind: ValidatingWebhookConfiguration
metadata: {name: cnpg-validating-webhook-configuration}
webhooks: []
---
kind: ConfigMap
metadata: {name: cnpg-default-monitoring}
data: {queries: "a: b"}`

func TestManifestThatLacksSomething(t *testing.T) {
	whole := rest + "\n---\nkind: CustomResourceDefinition\nmetadata: {name: a.example.com}\n"
	for name, test := range map[string]struct{ old, new, want string }{
		"permissions": {"cnpg-manager", "other", "there is no ClusterRole cnpg-manager"},
		"webhooks":    {"cnpg-validating", "other", "there is no ValidatingWebhookConfiguration"},
		"queries":     {"queries:", "other:", "ConfigMap cnpg-default-monitoring holds no queries"},
		"CRDs":        {"CustomResourceDefinition", "Other", "there are no CustomResourceDefinitions"},
		"sense":       {"rules: []", "\trules", "yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := fromManifest([]byte(strings.ReplaceAll(whole, test.old, test.new))); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestComposeRefusesToOverwrite(t *testing.T) {
	dir := compose(t)
	if err := Compose(t.Context(), filepath.Dir(dir)); err == nil || !strings.Contains(err.Error(), dir+" is there already") {
		t.Errorf("got %v, want the directory's name", err)
	}
}

// TestVersionIsTheOnePinned keeps the chart and the module that the operator is built from together.
func TestVersionIsTheOnePinned(t *testing.T) {
	if _, err := releaseManifest(t.Context(), "1.0.0"); err == nil || !strings.Contains(err.Error(), "the chart is for the operator 1.0.0") {
		t.Errorf("got %v, want the two versions", err)
	}
	content, err := os.ReadFile("chart/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var meta map[string]any
	if err := yaml.Unmarshal(content, &meta); err != nil {
		t.Fatal(err)
	}
	if _, err := releaseManifest(t.Context(), fmt.Sprint(meta["appVersion"])); err != nil {
		t.Error(err)
	}
}
