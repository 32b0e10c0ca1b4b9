package chart_test

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A value that stands elsewhere is refused with the place where it stands, and all of them at once.
func TestMovedValuesSayWhereTheyWent(t *testing.T) {
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	schema := readSchema(t, filepath.Join(umbrella, "values.schema.json"))
	properties := schema["properties"].(map[string]any)
	var gone []string
	for _, group := range []struct {
		prefix  string
		members map[string]any
	}{{"", properties}, {"global.", properties["global"].(map[string]any)["properties"].(map[string]any)}} {
		for _, key := range slices.Sorted(maps.Keys(group.members)) {
			if member, ok := group.members[key].(map[string]any); ok && member["$ref"] == moved {
				gone = append(gone, group.prefix+key)
			}
		}
	}
	if len(gone) == 0 {
		t.Fatal("the schema has no moved values")
	}
	var set []string
	for _, key := range gone {
		set = append(set, key+"=x")
	}
	_, err := tryRender(target{set: set})
	if err == nil {
		t.Fatalf("%v are accepted", gone)
	}
	defaults := render(t).Values
	for _, key := range gone {
		line := regexp.MustCompile(`(?m)^- ` + regexp.QuoteMeta(key) + ` is no value of this chart: set (.+)$`).FindStringSubmatch(err.Error())
		if line == nil {
			t.Errorf("nothing says where %s went:\n%v", key, err)
			continue
		}
		for _, path := range regexp.MustCompile(`(?:global|cloudnative-pg)(?:\.\w+)*`).FindAllString(line[1], -1) {
			if !leads(defaults, strings.Split(path, ".")) {
				t.Errorf("%s is said to be at %s, which is no value", key, path)
			}
		}
	}
}

func leads(values map[string]any, path []string) bool {
	value, there := values[path[0]]
	if !there || len(path) == 1 {
		return there
	}
	next, ok := value.(map[string]any)
	return ok && leads(next, path[1:])
}
