package valuegen

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// Valid are values that the schemas accept: some of the leaves, each with a value at random. The templates may still
// refuse them, since a schema can't say which values contradict each other.
func (s *Source) Valid(r *rand.Rand) map[string]any {
	values := map[string]any{}
	for range 1 + r.IntN(12) {
		leaf := s.Leaves[r.IntN(len(s.Leaves))]
		value := leaf.value(r)
		if value == nil {
			continue
		}
		Set(values, leaf.Path, value)
		// A mount without its volume is refused by Kubernetes, whatever the schema says.
		if last := leaf.Path[len(leaf.Path)-1]; last == "extraVolumeMounts" || last == "extraVolumes" {
			parent := leaf.Path[:len(leaf.Path)-1]
			Set(values, append(parent[:len(parent):len(parent)], "extraVolumes"), volumes)
			Set(values, append(parent[:len(parent):len(parent)], "extraVolumeMounts"), mounts)
		}
	}
	return values
}

// Names are the values that name an object in the cluster.
func (s *Source) Names() []Leaf {
	var names []Leaf
	for _, leaf := range s.Leaves {
		description, _ := leaf.schema.node["description"].(string)
		if strings.HasPrefix(description, "Name of an object in the cluster") {
			names = append(names, leaf)
		}
	}
	return names
}

// Set puts a value at a path, and makes what leads there.
func Set(values map[string]any, path []string, value any) {
	for _, key := range path[:len(path)-1] {
		next, ok := values[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			values[key] = next
		}
		values = next
	}
	values[path[len(path)-1]] = value
}

// value is nil for what the generator leaves as it is.
func (l Leaf) value(r *rand.Rand) any {
	if make, known := meanings[l.Key()]; known && len(l.Path) > 1 {
		if r.IntN(8) > 0 {
			return make(r)
		}
	} else if make, known := meanings[l.Path[len(l.Path)-1]]; known {
		return make(r)
	}
	return l.schema.value(r)
}

func (s schema) value(r *rand.Rand) any {
	s = s.resolve()
	if enum, ok := s.node["enum"].([]any); ok {
		return enum[r.IntN(len(enum))]
	}
	if choices, ok := s.node["oneOf"].([]any); ok {
		node, _ := choices[r.IntN(len(choices))].(map[string]any)
		return schema{node, s.definitions}.value(r)
	}
	types := s.types()
	if len(types) == 0 {
		return nil
	}
	switch types[r.IntN(len(types))] {
	case "boolean":
		return r.IntN(2) == 0
	case "integer", "number":
		low := s.number("minimum", 0)
		return low + r.IntN(s.number("maximum", low+1000)-low+1)
	case "string":
		if pattern, ok := s.node["pattern"].(string); ok {
			return Matching(r, pattern)
		}
		return text(r, s.number("minLength", 0))
	case "array":
		list := []any{}
		items, ok := s.child("items")
		for range max(r.IntN(3), s.number("minItems", 0)) {
			if ok {
				list = append(list, items.value(r))
			}
		}
		return list
	case "object":
		return s.object(r)
	}
	return nil
}

func (s schema) object(r *rand.Rand) any {
	object := map[string]any{}
	required := map[string]bool{}
	names, _ := s.node["required"].([]any)
	for _, name := range names {
		required[fmt.Sprint(name)] = true
	}
	properties, _ := s.node["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if required[name] || r.IntN(2) == 0 {
			node, _ := properties[name].(map[string]any)
			object[name] = schema{node, s.definitions}.value(r)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if _, set := object[name]; !set && len(object) < s.number("minProperties", 0) {
			node, _ := properties[name].(map[string]any)
			object[name] = schema{node, s.definitions}.value(r)
		}
	}
	extra, ok := s.child("additionalProperties")
	keys, named := s.child("propertyNames")
	for range r.IntN(3) {
		if ok && named {
			key, _ := keys.value(r).(string)
			object[key] = extra.value(r)
		}
	}
	return object
}

// awkward is what breaks a template that forgets to quote.
var awkward = []string{"yes", "0x1F", "1e3", "~", "null", `"`, "'", "a: b", "# no comment", "{{ .Values }}", "$(HOME)", "two\nlines", "é☃", "- x", "&a", "*a", "%", "@", "`", "\\"}

func text(r *rand.Rand, atLeast int) string {
	var b strings.Builder
	for range r.IntN(3) {
		b.WriteString(awkward[r.IntN(len(awkward))])
	}
	for utf8.RuneCountInString(b.String()) < atLeast {
		b.WriteString("x")
	}
	return b.String()
}

// Matching is a text at random that a pattern matches.
func Matching(r *rand.Rand, pattern string) string {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return ""
	}
	var b strings.Builder
	write(r, &b, parsed.Simplify())
	return b.String()
}

func write(r *rand.Rand, b *strings.Builder, part *syntax.Regexp) {
	repeat := func(low, high int) {
		for range low + r.IntN(high-low+1) {
			write(r, b, part.Sub[0])
		}
	}
	switch part.Op {
	case syntax.OpLiteral:
		b.WriteString(string(part.Rune))
	case syntax.OpCharClass:
		pair := r.IntN(len(part.Rune)/2) * 2
		low, high := part.Rune[pair], min(part.Rune[pair+1], '~')
		b.WriteRune(low + r.Int32N(max(high-low, 0)+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteRune('a' + r.Int32N(26))
	case syntax.OpConcat:
		for _, sub := range part.Sub {
			write(r, b, sub)
		}
	case syntax.OpAlternate:
		write(r, b, part.Sub[r.IntN(len(part.Sub))])
	case syntax.OpCapture:
		write(r, b, part.Sub[0])
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpStar:
		repeat(0, 4)
	case syntax.OpPlus:
		repeat(1, 4)
	case syntax.OpRepeat:
		repeat(part.Min, max(part.Min, min(part.Max, part.Min+4)))
	}
}
