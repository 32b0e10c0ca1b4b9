// Package valuegen makes values for the chart at random, from its schemas: valid ones, and ones that are broken in one
// place that is known.
package valuegen

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Leaf is a value that a user can set: what its schema does not take apart further.
type Leaf struct {
	// Path leads to it from the top of the values.
	Path   []string
	schema schema
}

// Key is the path as it is written after --set.
func (l Leaf) Key() string { return strings.Join(l.Path, ".") }

// Source is what the schemas of a chart and its subcharts say.
type Source struct {
	// Leaves are all values that can be set, in a fixed order.
	Leaves []Leaf
	// strict are the paths of the objects that admit no other keys than their own.
	strict [][]string
}

// schema is a part of a JSON schema, and the definitions of its file.
type schema struct {
	node        map[string]any
	definitions map[string]any
}

// Load reads the schemas of the chart in dir. What the operator's chart takes is its own.
func Load(dir string) (*Source, error) {
	source := &Source{}
	if err := source.load(dir, nil); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "Chart.yaml"))
	if err != nil {
		return nil, err
	}
	var manifest struct {
		Dependencies []struct{ Name, Alias, Repository string }
	}
	if err := yaml.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("%s/Chart.yaml: %w", dir, err)
	}
	for _, dependency := range manifest.Dependencies {
		if dependency.Repository != "" || dependency.Name == "common" {
			continue
		}
		key := dependency.Name
		if dependency.Alias != "" {
			key = dependency.Alias
		}
		if err := source.load(filepath.Join(dir, "charts", dependency.Name), []string{key}); err != nil {
			return nil, err
		}
	}
	return source, nil
}

func (s *Source) load(dir string, at []string) error {
	path := filepath.Join(dir, "values.schema.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var root map[string]any
	if err := json.Unmarshal(raw, &root); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	definitions, _ := root["definitions"].(map[string]any)
	s.walk(schema{root, definitions}, at)
	return nil
}

func (s *Source) walk(from schema, at []string) {
	from = from.resolve()
	properties, _ := from.node["properties"].(map[string]any)
	whole := false
	if len(at) > 0 {
		// A piece of a pod, which is made as a whole.
		_, whole = meanings[at[len(at)-1]]
	}
	if len(properties) == 0 || whole {
		if from.typed() {
			s.Leaves = append(s.Leaves, Leaf{slices.Clone(at), from})
		}
		return
	}
	if from.node["additionalProperties"] == false {
		s.strict = append(s.strict, slices.Clone(at))
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		// The umbrella's schema checks what all charts share; the operator's chart checks its own values.
		if (name == "global" && len(at) > 0) || name == "cloudnative-pg" {
			continue
		}
		if node, ok := properties[name].(map[string]any); ok {
			s.walk(schema{node, from.definitions}, append(slices.Clone(at), name))
		}
	}
}

// resolve follows references, and lays the parts of an allOf over each other.
func (s schema) resolve() schema {
	if reference, ok := s.node["$ref"].(string); ok {
		node, _ := s.definitions[strings.TrimPrefix(reference, "#/definitions/")].(map[string]any)
		return schema{node, s.definitions}.resolve()
	}
	parts, ok := s.node["allOf"].([]any)
	if !ok {
		return s
	}
	merged := map[string]any{}
	for _, part := range parts {
		node, _ := part.(map[string]any)
		overlay(merged, schema{node, s.definitions}.resolve().node)
	}
	return schema{merged, s.definitions}
}

func overlay(onto, from map[string]any) {
	for key, value := range from {
		under, isMap := onto[key].(map[string]any)
		over, overMap := value.(map[string]any)
		if !isMap || !overMap {
			onto[key] = value
			continue
		}
		both := maps.Clone(under)
		overlay(both, over)
		onto[key] = both
	}
}

func (s schema) typed() bool {
	return s.node["type"] != nil || s.node["enum"] != nil || s.node["oneOf"] != nil
}

// types are the JSON types that are allowed.
func (s schema) types() []string {
	switch one := s.node["type"].(type) {
	case string:
		return []string{one}
	case []any:
		var all []string
		for _, each := range one {
			all = append(all, fmt.Sprint(each))
		}
		return all
	}
	return nil
}

func (s schema) child(key string) (schema, bool) {
	node, ok := s.node[key].(map[string]any)
	return schema{node, s.definitions}, ok
}

// number is a limit such as minimum, or otherwise when there is none.
func (s schema) number(key string, otherwise int) int {
	if limit, ok := s.node[key].(float64); ok {
		return int(limit)
	}
	return otherwise
}
