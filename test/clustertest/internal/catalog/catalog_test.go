package catalog_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/test/clustertest/internal/catalog"
)

// root is the repository's.
const root = "../../../.."

// elsewhere are the tests that make test does not run: an old Kubernetes, GitOps tools, a newer PostgreSQL and a service mesh are
// for make matrix.
var elsewhere = []string{"lifetime TestOtherKubernetes", "e2e TestArgoCD", "e2e TestFlux", "e2e TestMajorUpgrade",
	"e2e TestMesh"}

func TestEveryTestIsListedOnce(t *testing.T) {
	want := slices.Clone(elsewhere)
	for _, suite := range catalog.Suites() {
		for _, name := range written(t, filepath.Join(root, suite.Module, suite.Package)) {
			want = append(want, suite.Name+" "+name)
		}
	}
	got := slices.Clone(elsewhere)
	names, rests := map[string]bool{}, map[string]int{}
	selected, err := catalog.Select(catalog.All(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range selected {
		if names[test.Name] {
			t.Errorf("%s is the name of two entries", test.Name)
		}
		names[test.Name] = true
		if test.Cost == 0 {
			t.Errorf("%s has no cost", test.Name)
		}
		function, _, parts := strings.Cut(test.Name, "/")
		if !parts && test.Functions != nil {
			for _, function := range test.Functions {
				got = append(got, test.Suite.Name+" "+function)
			}
			continue
		}
		got = append(got, test.Suite.Name+" "+function)
		if parts != (test.Sub != "" || test.Rest) {
			t.Errorf("%s: a part of a test has Sub or Rest, and a name with a slash", test.Name)
		}
		if parts {
			rests[function] += 0
		}
		if test.Rest {
			rests[function]++
		}
	}
	for function, n := range rests {
		if n != 1 {
			t.Errorf("%s has %d parts with Rest, want 1: a new subtest would run in none or in several", function, n)
		}
	}
	for _, list := range []*[]string{&want, &got} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tests that exist (-) and tests that tests.go lists (+):\n%s", diff)
	}
}

// written are the test functions in a folder.
func written(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	var names []string
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			function, ok := declared.(*ast.FuncDecl)
			if ok && function.Recv == nil && strings.HasPrefix(function.Name.Name, "Test") && function.Name.Name != "TestMain" {
				names = append(names, function.Name.Name)
			}
		}
	}
	return names
}

func TestSelect(t *testing.T) {
	all := []catalog.Test{
		{Name: "TestA", Cost: 1},
		{Name: "TestB/x", Sub: "./^x$"}, {Name: "TestB/y", Sub: "./^y$"}, {Name: "TestB/others", Rest: true},
		{Name: "TestGroup", Functions: []string{"TestOne", "TestTwo", "TestAnother"}},
	}
	for pattern, want := range map[string]string{
		"":              "TestA ^TestA$; TestB/x ^TestB$/./^x$; TestB/y ^TestB$/./^y$; TestB/others ^TestB$ ^TestB$/./^x$|^TestB$/./^y$; TestGroup ^(TestOne|TestTwo|TestAnother)$",
		"TestA":         "TestA ^TestA$; TestGroup ^TestAnother$",
		"^Test(A|Two)$": "TestA ^TestA$; TestGroup ^TestTwo$",
		"B$":            "TestB/x ^TestB$/./^x$; TestB/y ^TestB$/./^y$; TestB/others ^TestB$ ^TestB$/./^x$|^TestB$/./^y$",
		"TestB/4/^z$":   "TestB ^TestB$/4/^z$",
	} {
		selected, err := catalog.Select(all, pattern)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, test := range selected {
			got = append(got, strings.TrimSpace(test.Name+" "+test.Run+" "+test.Skip))
		}
		if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%q:\n%s", pattern, diff)
		}
	}
	for pattern, want := range map[string]string{"TestNone": `no cluster test matches "TestNone"`, "(": "missing closing"} {
		if _, err := catalog.Select(all, pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}

// The values files that are parts of their own exist: a renamed one would run as one of the others, and cost its part.
func TestPartsExist(t *testing.T) {
	for _, test := range catalog.All() {
		values, ok := strings.CutPrefix(test.Name, "TestChartTesting/")
		if !ok || test.Rest {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, "charts/neutree/ci", values+"-values.yaml")); err != nil {
			t.Error(err)
		}
		if !regexp.MustCompile(test.Sub[2:]).MatchString(values) {
			t.Errorf("%s does not match its own %s", test.Name, test.Sub)
		}
	}
}
