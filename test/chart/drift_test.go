package chart_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestSchemasAreOfTheValues holds each values.yaml against the schema beside it: the same keys in both. That the
// defaults have the right types every render proves.
func TestSchemasAreOfTheValues(t *testing.T) {
	for _, path := range files(t, "values.schema.json") {
		dir := filepath.Dir(path)
		relative, _ := filepath.Rel(umbrella, dir)
		t.Run(relative, func(t *testing.T) {
			var defaults map[string]any
			raw, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(raw, &defaults); err != nil {
				t.Fatal(err)
			}
			schema := readSchema(t, path)
			sameKeys(t, schema, schema, defaults, "")
		})
	}
}

func readSchema(t *testing.T, path string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return schema
}

// handedDown are keys that have a schema and no default: Helm sets them, or a chart that has this one as a dependency.
var handedDown = []string{".common", ".ldap.global", ".common.global", ".global", ".enabled"}

// moved are keys that the templates refuse by saying where they stand now.
const moved = "#/definitions/moved"

func sameKeys(t *testing.T, root, schema map[string]any, defaults any, at string) {
	t.Helper()
	if schema["$ref"] == moved {
		t.Errorf("%s is moved elsewhere and stands in values.yaml all the same", at)
		return
	}
	if reference, ok := schema["$ref"].(string); ok {
		definitions, _ := root["definitions"].(map[string]any)
		schema, ok = definitions[strings.TrimPrefix(reference, "#/definitions/")].(map[string]any)
		if !ok {
			t.Errorf("%s: %s is not defined", at, reference)
			return
		}
	}
	if parts, ok := schema["allOf"].([]any); ok {
		first, _ := parts[0].(map[string]any)
		sameKeys(t, root, first, defaults, at)
		return
	}
	if strings.HasSuffix(at, ".affinity") {
		return // A piece of a pod as Kubernetes defines it.
	}
	properties, ok := schema["properties"].(map[string]any)
	set, isMap := defaults.(map[string]any)
	if !ok || !isMap {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		here := at + "." + key
		value, there := set[key]
		member, _ := properties[key].(map[string]any)
		if !there && member["$ref"] == moved {
			continue
		}
		if !there {
			if !slices.Contains(handedDown, here) {
				t.Errorf("%s has a schema and stands in no values.yaml: nobody learns of it", here)
			}
			continue
		}
		sameKeys(t, root, member, value, here)
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if _, there := properties[key]; !there {
			t.Errorf("%s.%s stands in values.yaml and has no schema", at, key)
		}
	}
}

// A definition of one name says the same in every schema: JSON schemas of several charts can't share a file.
func TestSchemasAgreeOnDefinitions(t *testing.T) {
	first := map[string]string{}
	known := map[string]any{}
	for _, path := range files(t, "values.schema.json") {
		relative, _ := filepath.Rel(umbrella, path)
		definitions, _ := readSchema(t, path)["definitions"].(map[string]any)
		for name, definition := range definitions {
			if _, again := known[name]; !again {
				known[name], first[name] = definition, relative
			} else if diff := cmp.Diff(known[name], definition); diff != "" {
				t.Errorf("%s is defined otherwise in %s (-) than in %s (+):\n%s", name, first[name], relative, diff)
			}
		}
	}
}
