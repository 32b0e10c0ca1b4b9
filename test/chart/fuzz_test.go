package chart_test

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/test/valuegen"
)

// What go test runs of each fuzz test; go test -fuzz FuzzValidValues ./test/chart goes on from there.
const (
	validSeeds  = 100
	brokenSeeds = 150
)

// FuzzValidValues renders values that the schemas accept. Either every object fits its type, or the templates name the
// values that contradict each other.
func FuzzValidValues(f *testing.F) {
	source := generator(f)
	for seed := range uint64(validSeeds) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		values := source.Valid(rand.New(rand.NewPCG(seed, 0)))
		rendered, err := renderValues(values)
		if err != nil {
			wantContradiction(t, source, values, err)
			return
		}
		for _, object := range ours(rendered.Objects) {
			typed(t, object)
		}
	})
}

// Most values that the schemas accept must render, or the test above shows little.
func TestMostValidValuesRender(t *testing.T) {
	source := generator(t)
	const tries = 60
	good := 0
	for seed := range uint64(tries) {
		if _, err := renderValues(source.Valid(rand.New(rand.NewPCG(seed, 0)))); err == nil {
			good++
		}
	}
	if good < tries/3 {
		t.Errorf("%d of %d random values render, want a third at least", good, tries)
	}
}

// FuzzBrokenValues breaks one value, and wants it named.
func FuzzBrokenValues(f *testing.F) {
	source := generator(f)
	for seed := range uint64(brokenSeeds) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		broken := source.Broken(rand.New(rand.NewPCG(seed, 0)))
		values := map[string]any{}
		for _, module := range []string{"sandbox", "browser"} {
			valuegen.Set(values, []string{"global", "modules", module, "enabled"}, true)
		}
		valuegen.Set(values, []string{"sandbox", "openSandbox", "url"}, "http://opensandbox")
		valuegen.Set(values, []string{"browser", "turn", "host"}, "203.0.113.10")
		valuegen.Set(values, broken.Path, broken.Value)
		_, err := renderValues(values)
		if err == nil {
			t.Fatalf("%s is accepted", broken)
		}
		if !strings.Contains(err.Error(), broken.Key()) {
			t.Errorf("%s is refused without its name:\n%v", broken, err)
		}
	})
}

func generator(t testing.TB) *valuegen.Source {
	t.Helper()
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	source, err := valuegen.Load(umbrella)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// renderValues renders with values as they would stand in a file.
func renderValues(values map[string]any) (*chart.Rendered, error) {
	raw, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	plain := map[string]any{}
	if err := json.Unmarshal(raw, &plain); err != nil {
		return nil, err
	}
	if _, set := plain[operator]; !set {
		valuegen.Set(plain, []string{operator, "crds", "create"}, false)
	}
	loaded, err := chart.Load(umbrella)
	if err != nil {
		return nil, err
	}
	return chart.Render(loaded, chart.Options{
		Release: releaseName, Namespace: namespace, Values: plain, Kubernetes: chart.Kubernetes{Version: kubernetes}})
}

var contradiction = regexp.MustCompile(`(?m)^- (.+)$`)

// wantContradiction accepts an error of the templates that names a value in each of its lines.
func wantContradiction(t *testing.T, source *valuegen.Source, values map[string]any, err error) {
	t.Helper()
	lines := contradiction.FindAllStringSubmatch(err.Error(), -1)
	if !strings.Contains(err.Error(), "The release can't be installed like this") || len(lines) == 0 {
		t.Fatalf("%v are valid by the schema, but: %v", values, err)
	}
	for _, line := range lines {
		named := func(leaf valuegen.Leaf) bool {
			return strings.Contains(line[1], leaf.Key()) || strings.Contains(line[1], strings.Join(leaf.Path[:len(leaf.Path)-1], "."))
		}
		if !slices.ContainsFunc(source.Leaves, named) {
			t.Errorf("%v: no value is named in: %s", values, line[1])
		}
	}
}
