package docs_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/test/docs"
)

const chart = root + "/charts/neutree"

// defaults are the chart's values. What its dependencies bring besides is not among them.
func defaults(t *testing.T, files ...string) map[string]any {
	t.Helper()
	merged := map[string]any{}
	for _, file := range append([]string{"values.yaml"}, files...) {
		raw, err := os.ReadFile(chart + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var values map[string]any
		if err := yaml.Unmarshal(raw, &values); err != nil {
			t.Fatal(err)
		}
		merge(merged, values)
	}
	return merged
}

func merge(into, from map[string]any) {
	for key, value := range from {
		nested, is := value.(map[string]any)
		old, was := into[key].(map[string]any)
		if is && was {
			merge(old, nested)
			continue
		}
		into[key] = value
	}
}

// schema tells whether the chart's schema knows a value, which may have no default.
func schema(t *testing.T) func(path []string) bool {
	t.Helper()
	raw, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := yaml.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	var knows func(node map[string]any, path []string) bool
	knows = func(node map[string]any, path []string) bool {
		if ref, is := node["$ref"].(string); is {
			at := whole
			for _, key := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
				at, _ = at[key].(map[string]any)
			}
			if at != nil && knows(at, path) {
				return true
			}
		}
		if len(path) == 0 {
			return true
		}
		properties, _ := node["properties"].(map[string]any)
		if next, is := properties[path[0]].(map[string]any); is && knows(next, path[1:]) {
			return true
		}
		for _, key := range []string{"allOf", "anyOf", "oneOf"} {
			list, _ := node[key].([]any)
			for _, one := range list {
				if next, is := one.(map[string]any); is && knows(next, path) {
					return true
				}
			}
		}
		for _, key := range []string{"items", "additionalProperties"} {
			if next, is := node[key].(map[string]any); is && knows(next, path[min(1, len(path)):]) {
				return true
			}
		}
		// An object that says nothing of its keys takes any: annotations, node selectors, what other charts read.
		_, states := node["properties"]
		return !states && node["$ref"] == nil && node["additionalProperties"] != false &&
			(node["type"] == "object" || node["type"] == nil)
	}
	return func(path []string) bool { return knows(whole, path) }
}

func find(values map[string]any, path []string) (any, bool) {
	var at any = values
	for _, key := range path {
		object, is := at.(map[string]any)
		if !is {
			return nil, false
		}
		if at, is = object[key]; !is {
			return nil, false
		}
	}
	return at, true
}

// named is a value as pages name it: a path in code, perhaps with what it is set to.
var named = regexp.MustCompile("`((?:global|controlPlane|gateway|workspaceRuntime|sandbox|browser|uninstall|ldap|" +
	"cloudnative-pg)(?:\\.[a-zA-Z]+)+)(?:[=:][^`]*)?`")

// Pages, and the messages of the chart, name values that exist.
func TestNamedValuesExist(t *testing.T) {
	values, known := defaults(t), schema(t)
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for page, text := range pages {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			path := strings.Split(m[1], ".")
			if path[0] == "cloudnative-pg" && page != "" {
				continue // the operator's chart has more values than the umbrella sets
			}
			count++
			if _, set := find(values, path); !set && !known(path) {
				t.Errorf("%s names %s, which is no value of the chart", page, m[1])
			}
		}
	}
	for _, c := range commands(t) {
		for i, word := range c.Words {
			if word != "--set" || i+1 == len(c.Words) {
				continue
			}
			path, _, sets := strings.Cut(c.Words[i+1], "=")
			count++
			if _, set := find(values, strings.Split(path, ".")); !sets || !set && !known(strings.Split(path, ".")) {
				t.Errorf("%s: %s is no value of the chart", c, path)
			}
		}
	}
	if count < 60 {
		t.Errorf("only %d values are found on the pages", count)
	}
}

// A figure in parentheses behind a value is its default.
var stated = regexp.MustCompile("`([a-zA-Z-]+(?:\\.[a-zA-Z]+)+)` \\(([^)` ]+)\\)")

func TestStatedDefaultsAreThose(t *testing.T) {
	values := defaults(t)
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for page, text := range pages {
		for _, m := range stated.FindAllStringSubmatch(strings.ReplaceAll(text, "\n", " "), -1) {
			got, set := find(values, strings.Split(m[1], "."))
			if !set {
				continue
			}
			count++
			if fmt.Sprint(got) != m[2] {
				t.Errorf("%s says that %s is %s by default, and values.yaml %v", page, m[1], m[2], got)
			}
		}
	}
	if count == 0 {
		t.Error("no page states a default: the backups that are kept were one")
	}
}

// sentences are what pages say of defaults in words. Each is to be there, so that it is held against the values.
var sentences = []struct {
	page, says string
	file       string
	value      string
	want       any
}{
	{page: "README.md", says: "NetworkPolicies are on by default", value: "global.networkPolicies.enabled", want: true},
	{page: "docs/values.md", says: "NetworkPolicies are on", value: "global.networkPolicies.enabled", want: true},
	{page: "docs/install.md", says: "One instance of the database runs unless you say otherwise",
		value: "global.database.cnpg.instances", want: 1.0},
	{page: "docs/single-node.md", says: "web interface is then at port 30080", file: "values-single-node.yaml",
		value: "global.exposure.nodePorts.web", want: 30080.0},
	{page: "docs/openshift.md", says: "oc create namespace nap-workspaces", value: "global.workspaces.namespace",
		want: ""},
	{page: "docs/backup.md", says: "`nap-cp-secret`", value: "global.namePrefix", want: "nap"},
}

func TestDefaultsInWordsAreThose(t *testing.T) {
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sentences {
		if !strings.Contains(strings.Join(strings.Fields(pages[s.page]), " "), s.says) {
			t.Errorf("%s no longer says %q: name here what it says of %s", s.page, s.says, s.value)
		}
		var files []string
		if s.file != "" {
			files = []string{s.file}
		}
		if got, set := find(defaults(t, files...), strings.Split(s.value, ".")); !set || got != s.want {
			t.Errorf("%s says %q, but %s is %v by default", s.page, s.says, s.value, got)
		}
	}
}

// Values that pages show as YAML are values of the chart.
func TestShownValuesExist(t *testing.T) {
	values, known := defaults(t), schema(t)
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for page, text := range pages {
		for _, block := range docs.Blocks(text, "yaml") {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(block), &content); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, block)
				continue
			}
			if embedded, is := find(content, []string{"spec", "source", "helm", "valuesObject"}); is {
				content, _ = embedded.(map[string]any)
			}
			roots := slices.Sorted(maps.Keys(content))
			if !slices.ContainsFunc(roots, func(key string) bool { _, is := values[key]; return is }) {
				continue
			}
			shown++
			each(content, nil, func(path []string) {
				if path[0] == "cloudnative-pg" {
					return
				}
				if _, set := find(values, path); !set && !known(path) {
					t.Errorf("%s shows %s, which is no value of the chart", page, strings.Join(path, "."))
				}
			})
		}
	}
	if shown < 5 {
		t.Errorf("only %d blocks of values are found", shown)
	}
}

// each calls do with the path of every leaf.
func each(values map[string]any, above []string, do func([]string)) {
	for key, value := range values {
		path := append(slices.Clone(above), key)
		if nested, is := value.(map[string]any); is && len(nested) > 0 {
			each(nested, path, do)
			continue
		}
		do(path)
	}
}

// What comments in values.yaml say of a default with the word itself is what stands behind them.
func TestCommentsOnDefaultsAreRight(t *testing.T) {
	raw, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	value := regexp.MustCompile(`^ *([a-zA-Z-]+): *"?([0-9]+)"?(?: *#.*)?$`)
	by := regexp.MustCompile(`(?i)(?:by default|default(?:s to| is)?):? ([0-9]+)\b`)
	comment, line := "", 0
	for text := range strings.Lines(string(raw)) {
		line++
		text = strings.TrimRight(text, "\n")
		if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "#") {
			comment += " " + strings.TrimLeft(trimmed, "# -")
			continue
		}
		if m, says := value.FindStringSubmatch(text), by.FindStringSubmatch(comment); m != nil && says != nil {
			if want, _ := strconv.Atoi(says[1]); fmt.Sprint(want) != m[2] {
				t.Errorf("values.yaml:%d: the comment says that %s is %d by default, and it is %s", line, m[1],
					want, m[2])
			}
		}
		comment = ""
	}
}
