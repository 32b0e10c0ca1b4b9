package cnpgchart

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/test/publishedchart"
)

// settings are the values with which the composed chart must make the objects of the published one: the umbrella's own,
// and the settings of the operator that people are likely to use.
var settings = map[string]string{
	"the umbrella's": `{}`,
	"mirrored images": `
crds: {create: false}
image: {repository: registry.example.com/cnpg, tag: "2", pullPolicy: Always}
imagePullSecrets: [{name: regcred}]`,
	"scheduling": `
crds: {create: false}
replicaCount: 2
updateStrategy: {type: Recreate}
nodeSelector: {role: infra}
tolerations: [{key: infra, operator: Exists}]
affinity: {nodeAffinity: {}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: platform
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
resources: {limits: {memory: 256Mi}}
webhook:
  port: 9444
  mutating: {failurePolicy: Ignore}
  validating: {create: false}
  startupProbe: {failureThreshold: 60}`,
	"names, labels, rights": `
crds: {create: false}
fullnameOverride: operator
commonAnnotations: {a: b}
podAnnotations: {c: d}
podLabels: {e: f}
rbac: {aggregateClusterRoles: true}
monitoring: {podMonitorEnabled: true, podMonitorAdditionalLabels: {release: prometheus}}
service: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv6]}`,
	"all namespaces": `
crds: {create: false}
config: {clusterWide: true, data: {INHERITED_LABELS: team}}
additionalArgs: [--log-level=debug]
additionalEnv: [{name: EXTRA, value: "{{ .Release.Name }}"}]`,
	"configuration in a Secret": `
crds: {create: false}
config: {clusterWide: true, secret: true, data: {INHERITED_LABELS: team}}`,
}

// difference is one that is meant to be: with these settings, or with all where it names none, every field whose path
// begins like this may differ.
type difference struct{ with, path, reason string }

var allowed = []difference{
	{"", "Deployment/neutree-cloudnative-pg spec.template.metadata.annotations.checksum/", checksums},
	{"names, labels, rights", "Deployment/operator spec.template.metadata.annotations.checksum/", checksums},
	{"configuration in a Secret", "Secret/cnpg-controller-manager-config metadata.namespace",
		"The published chart leaves it to Helm, which takes the namespace of the release."},
	{"names, labels, rights", "ValidatingWebhookConfiguration/cnpg-validating-webhook-configuration metadata.annotations",
		"The published chart forgets the common annotations there."},
}

const checksums = "They are of the templates' text, and change with it in both charts."

// NotCompared names the file to which a comparison that could not be made adds a line; `make test` counts the lines.
const NotCompared = "NOT_COMPARED"

// The composed chart makes the same objects as the published one, in an umbrella chart with the same values.
func TestComposedChartIsLikeThePublished(t *testing.T) {
	path, err := publishedchart.Find(t.Context(), umbrella, t.TempDir())
	if errors.Is(err, publishedchart.ErrNotAvailable) {
		notCompared(t, fmt.Sprintf("composed CloudNativePG chart with the published one: %v", err))
	}
	if err != nil {
		t.Fatal(err)
	}
	dir, found := compose(t), map[difference]bool{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		values := operatorValues(t, settings[name])
		composed, published := fields(render(t, dir, values)), fields(render(t, path, values))
		for _, path := range unequal(composed, published) {
			i := slices.IndexFunc(allowed, func(d difference) bool {
				return (d.with == "" || d.with == name) && strings.HasPrefix(path, d.path)
			})
			if i >= 0 {
				found[allowed[i]] = true
				continue
			}
			t.Errorf("with %s values: %s:\n composed:  %s\n published: %s",
				name, path, shown(composed, path), shown(published, path))
		}
	}
	for _, d := range allowed {
		if !found[d] {
			t.Errorf("nothing differs at %s any more: remove it from the list (%s)", d.path, d.reason)
		}
	}
}

// notCompared skips the test and records that for the summary.
func notCompared(t *testing.T, what string) {
	t.Helper()
	if name := os.Getenv(NotCompared); name != "" {
		file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := fmt.Fprintln(file, strings.ReplaceAll(what, "\n", " ")); err != nil {
			t.Fatal(err)
		}
	}
	t.Skip("not compared: " + what)
}

// operatorValues are the umbrella chart's values for the operator with settings over them.
func operatorValues(t *testing.T, settings string) string {
	t.Helper()
	all, err := chartutil.ReadValuesFile(filepath.Join(umbrella, chartutil.ValuesfileName))
	if err != nil {
		t.Fatal(err)
	}
	own, err := all.Table(Name)
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	merged, err := chartutil.Values(chartutil.CoalesceTables(given, own)).YAML()
	if err != nil {
		t.Fatal(err)
	}
	return merged
}

// fields are all fields of all objects by their path.
func fields(rendered objects) map[string]any {
	all := map[string]any{}
	for object, content := range rendered {
		all[object] = "object"
		for key, value := range content {
			flatten(all, object+" "+key, value)
		}
	}
	return all
}

// flatten adds the fields below path. Lists whose order does not matter are compared by content: named things by their
// name, and permissions one by one, because the same ones can be grouped in other ways.
func flatten(to map[string]any, path string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			flatten(to, path+"."+key, below)
		}
	case []any:
		for i, one := range value {
			inside, _ := one.(map[string]any)
			name, named := inside["name"].(string)
			switch {
			case inside["verbs"] != nil:
				permissions(to, path, inside)
			case named:
				flatten(to, fmt.Sprintf("%s[%s]", path, name), one)
			default:
				flatten(to, fmt.Sprintf("%s[%d]", path, i), one)
			}
		}
	case string:
		// The monitoring queries are YAML inside a string.
		var inside map[string]any
		if strings.Contains(value, "\n") && yaml.Unmarshal([]byte(value), &inside) == nil {
			flatten(to, path, inside)
			return
		}
		// Line breaks mean nothing to SQL.
		to[path] = strings.Join(strings.Fields(value), " ")
	case int64, int, float64:
		to[path] = fmt.Sprint(value)
	default:
		to[path] = value
	}
}

// permissions adds each right that a rule gives.
func permissions(to map[string]any, path string, rule map[string]any) {
	list := func(key string) []any {
		values, _ := rule[key].([]any)
		if len(values) == 0 {
			return []any{""}
		}
		return values
	}
	for _, group := range list("apiGroups") {
		for _, resource := range slices.Concat(list("resources"), list("nonResourceURLs")) {
			for _, name := range list("resourceNames") {
				for _, verb := range list("verbs") {
					if resource != "" {
						to[fmt.Sprintf("%s[%v/%v %v %v]", path, group, resource, name, verb)] = true
					}
				}
			}
		}
	}
}

// unequal lists the paths whose fields differ. Of an object that one side lacks, it is the object alone.
func unequal(a, b map[string]any) []string {
	var paths []string
	for path := range a {
		if other, found := b[path]; !found || other != a[path] {
			paths = append(paths, path)
		}
	}
	for path := range b {
		if _, found := a[path]; !found {
			paths = append(paths, path)
		}
	}
	return slices.DeleteFunc(slices.Sorted(slices.Values(paths)), func(path string) bool {
		object, _, inside := strings.Cut(path, " ")
		return inside && (a[object] == nil) != (b[object] == nil)
	})
}

// shown is a field as a failure prints it.
func shown(fields map[string]any, path string) string {
	value, found := fields[path]
	if !found {
		return "(none)"
	}
	return fmt.Sprintf("%.200v", value)
}
