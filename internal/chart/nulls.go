package chart

import (
	"maps"
	"slices"
	"strings"
)

// Nulls are the paths of the values that a user set to null, in order. In a values file that is a key with nothing
// behind it too.
func Nulls(values map[string]any) []string {
	var paths []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch value := values[key].(type) {
		case nil:
			paths = append(paths, key)
		case map[string]any:
			for _, inner := range Nulls(value) {
				paths = append(paths, key+"."+inner)
			}
		}
	}
	return paths
}

// Kept are those of the paths that have a value all the same in what was rendered. Helm hands a subchart a copy of what
// charts share, without the null, and takes the value back from there: no template ever sees such a null.
func (r *Rendered) Kept(nulls []string) []string {
	return slices.DeleteFunc(slices.Clone(nulls), func(path string) bool { return empty(at(r.Values, path)) })
}

func at(values map[string]any, path string) any {
	var value any = values
	for key := range strings.SplitSeq(path, ".") {
		group, _ := value.(map[string]any)
		value = group[key]
	}
	return value
}

func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}
