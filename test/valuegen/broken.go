package valuegen

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
)

// Broken is one value that the schemas refuse.
type Broken struct {
	// Path and Value are what is set.
	Path  []string
	Value any
	// Why says how it is broken.
	Why string
}

// Key is the one that a refusal must name.
func (b Broken) Key() string { return b.Path[len(b.Path)-1] }

func (b Broken) String() string {
	return fmt.Sprintf("%s=%#v (%s)", strings.Join(b.Path, "."), b.Value, b.Why)
}

// Broken breaks one value at random.
func (s *Source) Broken(r *rand.Rand) Broken {
	if r.IntN(4) == 0 {
		path := s.strict[r.IntN(len(s.strict))]
		return Broken{append(slices.Clone(path), "mistake"+fmt.Sprint(r.IntN(100))), "x", "unknown key"}
	}
	for {
		leaf := s.Leaves[r.IntN(len(s.Leaves))]
		if ways := leaf.schema.broken(); len(ways) > 0 {
			way := ways[r.IntN(len(ways))]
			way.Path = leaf.Path
			return way
		}
	}
}

// broken are the ways in which a value can be wrong.
func (s schema) broken() []Broken {
	var ways []Broken
	types := s.types()
	for kind, value := range map[string]any{"string": "word", "integer": 7, "boolean": true, "array": []any{"word"}, "object": map[string]any{"a": "b"}} {
		if len(types) > 0 && !slices.Contains(types, kind) && !(kind == "integer" && slices.Contains(types, "number")) {
			ways = append(ways, Broken{Value: value, Why: "wrong type"})
		}
	}
	slices.SortFunc(ways, func(a, b Broken) int { return strings.Compare(fmt.Sprint(a.Value), fmt.Sprint(b.Value)) })
	if _, limited := s.node["minimum"]; limited {
		ways = append(ways, Broken{Value: s.number("minimum", 0) - 1, Why: "below the minimum"})
	}
	if _, limited := s.node["maximum"]; limited {
		ways = append(ways, Broken{Value: s.number("maximum", 0) + 1, Why: "above the maximum"})
	}
	if _, limited := s.node["enum"]; limited {
		ways = append(ways, Broken{Value: "neither", Why: "not one of the choices"})
	}
	if pattern, ok := s.node["pattern"].(string); ok {
		if bad := " a b/!"; !regexp.MustCompile(pattern).MatchString(bad) {
			ways = append(ways, Broken{Value: bad, Why: "does not match its pattern"})
		}
	}
	if s.number("minLength", 0) > 0 {
		ways = append(ways, Broken{Value: "", Why: "too short"})
	}
	return ways
}
