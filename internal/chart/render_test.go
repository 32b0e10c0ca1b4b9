package chart_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/cli/values"
	"helm.sh/helm/v3/pkg/release"

	"github.com/neutree-ai/packaging/internal/chart"
)

// write makes files below a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const schema = `{"type": "object", "additionalProperties": false, "properties": {
  "global": {"type": "object"}, "port": {"type": "integer"}, "engine": {"type": "object"}, "hooks": {"type": "boolean"}}}`

// sample has a dependency, a schema, notes, a hook of two objects and one that asks the cluster's version.
func sample(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"Chart.yaml": `{apiVersion: v2, name: sample, version: 1.0.0, kubeVersion: ">=1.28.0-0",
dependencies: [{name: engine, version: 1.0.0, repository: "", condition: engine.enabled}]}`,
		"values.yaml":        "port: 80\nhooks: true\nengine: {enabled: true}\n",
		"values.schema.json": schema,
		"templates/NOTES.txt": "Port {{ .Values.port }}, " +
			"{{ if .Release.IsUpgrade }}upgraded{{ else }}installed{{ end }} in {{ .Release.Namespace }}.",
		"templates/service.yaml": `apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}", labels: {kubernetes: "{{ .Capabilities.KubeVersion.Minor }}"}}
spec: {ports: [{port: {{ .Values.port }}}]}
`,
		"templates/account.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: main}\n",
		"templates/hooks.yaml": `{{ if .Values.hooks }}
apiVersion: batch/v1
kind: Job
metadata: {name: late, annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-weight: "5"}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: early, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: "-5", helm.sh/hook-delete-policy: hook-succeeded}}
{{ end }}`,
		"charts/engine/Chart.yaml":             "{apiVersion: v2, name: engine, version: 1.0.0}",
		"charts/engine/templates/config.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: engine}\n",
		"charts/engine/templates/NOTES.txt":    "Notes of the dependency.",
		"charts/engine/templates/_helpers.tpl": `{{ define "x" }}{{ end }}`,
	}
}

func render(t *testing.T, files map[string]string, opts chart.Options) (*chart.Rendered, error) {
	t.Helper()
	loaded, err := chart.Load(write(t, files))
	if err != nil {
		t.Fatal(err)
	}
	opts.Release, opts.Namespace = "demo", "apps"
	if opts.Kubernetes.Version == "" {
		opts.Kubernetes.Version = "1.34"
	}
	return chart.Render(loaded, opts)
}

func names(objects []chart.Object) []string {
	var all []string
	for _, object := range objects {
		all = append(all, object.GetName())
	}
	return all
}

func TestRender(t *testing.T) {
	rendered, err := render(t, sample(t), chart.Options{Values: map[string]any{"port": 8080}, Kubernetes: chart.Kubernetes{Version: "1.30"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(rendered.Main()), []string{"main", "engine", "demo"}; !slices.Equal(got, want) {
		t.Errorf("the release's own objects are %v, want %v, in the order in which Helm creates them", got, want)
	}
	if got, want := names(rendered.Hooks(release.HookPreInstall)), []string{"early", "late"}; !slices.Equal(got, want) {
		t.Errorf("hooks before an install are %v, want %v", got, want)
	}
	if got, want := names(rendered.Hooks(release.HookPreUpgrade)), []string{"late"}; !slices.Equal(got, want) {
		t.Errorf("hooks before an upgrade are %v, want %v", got, want)
	}
	early := rendered.Hooks(release.HookPreInstall)[0]
	if early.Hook.Weight != -5 || !slices.Equal(early.Hook.DeletePolicies, []release.HookDeletePolicy{release.HookSucceeded}) {
		t.Errorf("hook early = %+v, want the weight -5 and hook-succeeded", early.Hook)
	}
	if want := "sample/templates/hooks.yaml: Job early"; early.String() != want {
		t.Errorf("hook early is called %q, want %q", early, want)
	}
	service := rendered.Main()[2]
	if got := service.GetLabels()["kubernetes"]; got != "30" {
		t.Errorf("templates see Kubernetes 1.%s, want 1.30", got)
	}
	if !strings.Contains(service.YAML, "port: 8080") {
		t.Errorf("the user's value is not in\n%s", service.YAML)
	}
	if want := "Port 8080, installed in apps."; rendered.Notes != want {
		t.Errorf("notes = %q, want %q", rendered.Notes, want)
	}
	if got := rendered.Values["hooks"]; got != true {
		t.Errorf("values: hooks = %v, want the chart's default beside the user's values", got)
	}
}

func TestRenderUpgrade(t *testing.T) {
	rendered, err := render(t, sample(t), chart.Options{Upgrade: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := "Port 80, upgraded in apps."; rendered.Notes != want {
		t.Errorf("notes = %q, want %q", rendered.Notes, want)
	}
}

func TestRenderWithoutADependency(t *testing.T) {
	rendered, err := render(t, sample(t), chart.Options{Values: map[string]any{"engine": map[string]any{"enabled": false}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(rendered.Main()); slices.Contains(got, "engine") {
		t.Errorf("objects are %v although the dependency is off", got)
	}
}

func TestRenderCRDs(t *testing.T) {
	files := sample(t)
	files["crds/things.yaml"] = "kind: CustomResourceDefinition\nmetadata: {name: things}\n---\nkind: CustomResourceDefinition\nmetadata: {name: others}\n"
	rendered, err := render(t, files, chart.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(rendered.Main())[:2]; !slices.Equal(got, []string{"things", "others"}) {
		t.Errorf("objects begin with %v, want those of crds/", got)
	}
}

func TestRenderRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(map[string]string)
		opts   chart.Options
		want   []string
	}{
		"unknown value": {opts: chart.Options{Values: map[string]any{"prot": 1}}, want: []string{"sample", "prot"}},
		"wrong type":    {opts: chart.Options{Values: map[string]any{"port": "http"}}, want: []string{"/port", "integer"}},
		"old cluster": {opts: chart.Options{Kubernetes: chart.Kubernetes{Version: "1.27.3"}},
			want: []string{"sample 1.0.0 needs Kubernetes >=1.28.0-0", "1.27.3"}},
		"no version": {opts: chart.Options{Kubernetes: chart.Kubernetes{Version: "new"}}, want: []string{`version of Kubernetes "new"`}},
		"bad template": {change: func(files map[string]string) { files["templates/service.yaml"] = "{{ .Values.port.x.y }}" },
			want: []string{"templates/service.yaml"}},
		"bad YAML": {change: func(files map[string]string) { files["templates/service.yaml"] = "kind: [" },
			want: []string{"templates/service.yaml"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files := sample(t)
			if test.change != nil {
				test.change(files)
			}
			_, err := render(t, files, test.opts)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want one with %q", err, want)
				}
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	files := sample(t)
	for name := range files {
		if strings.HasPrefix(name, "charts/") {
			delete(files, name)
		}
	}
	dir := write(t, files)
	_, err := chart.Load(dir)
	if want := "lacks its dependencies engine: run `helm dependency build " + dir + "`"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want one with %q", err, want)
	}
	if _, err := chart.Load(filepath.Join(dir, "nowhere")); err == nil || !strings.Contains(err.Error(), "load chart "+dir) {
		t.Errorf("error = %v, want one that names the directory", err)
	}
}

func TestValues(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": "port: 1\nhost: a\n", "b.yaml": "port: 2\n"})
	got, err := chart.Values(values.Options{
		ValueFiles: []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")},
		Values:     []string{"port=3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got["host"] != "a" || got["port"] != int64(3) {
		t.Errorf("values = %v, want the host of the first file and the port given last", got)
	}
	missing := filepath.Join(dir, "missing.yaml")
	if _, err := chart.Values(values.Options{ValueFiles: []string{missing}}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("error = %v, want one that names %s", err, missing)
	}
}
