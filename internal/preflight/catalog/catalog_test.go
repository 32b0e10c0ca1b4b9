package catalog_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/catalog"
)

func TestChecksAreComplete(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`)
	seen := map[string]bool{}
	var topics []string
	for _, check := range catalog.Checks() {
		if !id.MatchString(check.ID) {
			t.Errorf("%q is no topic, dot and name", check.ID)
		}
		if seen[check.ID] {
			t.Errorf("%s: two checks have this ID", check.ID)
		}
		seen[check.ID] = true
		if check.Title == "" || check.Title[:1] != strings.ToUpper(check.Title[:1]) || check.Run == nil || check.Severity != preflight.Error && check.Severity != preflight.Warning {
			t.Errorf("%s: a title with a capital letter, severity and work must be there: %+v", check.ID, check)
		}
		if len(topics) == 0 || topics[len(topics)-1] != check.Topic() {
			if slices.Contains(topics, check.Topic()) {
				t.Errorf("%s: the topic comes twice", check.ID)
			}
			topics = append(topics, check.Topic())
		}
	}
}

func TestEveryCheckIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/preflight.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, check := range catalog.Checks() {
		if !strings.Contains(page, `<a id="`+check.ID+`"></a>`) {
			t.Errorf("docs/preflight.md has no anchor for %s: put <a id=%q></a> before the section that explains it", check.ID, check.ID)
		}
	}
	for _, anchor := range regexp.MustCompile(`<a id="([^"]+)"></a>`).FindAllStringSubmatch(page, -1) {
		if !slices.ContainsFunc(catalog.Checks(), func(c preflight.Check) bool { return c.ID == anchor[1] }) {
			t.Errorf("docs/preflight.md explains %s, which is no check", anchor[1])
		}
	}
}

// declared are the files in which checks are declared, by the checks' IDs.
func declared(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../check/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of checks: %v", len(files), err)
	}
	found := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			literal, ok := node.(*ast.CompositeLit)
			if !ok {
				return true
			}
			keys := map[string]ast.Expr{}
			for _, element := range literal.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok {
					if key, ok := pair.Key.(*ast.Ident); ok {
						keys[key.Name] = pair.Value
					}
				}
			}
			if id, ok := keys["ID"].(*ast.BasicLit); ok && keys["Title"] != nil {
				text, err := strconv.Unquote(id.Value)
				if err != nil {
					t.Fatal(err)
				}
				found[text] = file
			}
			return true
		})
	}
	return found
}

func TestTopicIsPackage(t *testing.T) {
	files := declared(t)
	for _, check := range catalog.Checks() {
		file := "read.go"
		if check.Needs.Has(preflight.Pods) {
			file = "probe.go"
		}
		if want := filepath.Join("..", "check", check.Topic(), file); files[check.ID] != want {
			t.Errorf("%s is declared in %s, want %s", check.ID, files[check.ID], want)
		}
		delete(files, check.ID)
	}
	for id, file := range files {
		t.Errorf("%s, declared in %s, is not in the catalogue", id, file)
	}
}

func TestOldNamesWork(t *testing.T) {
	version := regexp.MustCompile(`(?m)^version: "([0-9]+)\.([0-9]+)\.`).FindStringSubmatch(read(t, "../../../plugin.yaml"))
	if version == nil {
		t.Fatal("plugin.yaml names no version")
	}
	page := read(t, "../../../docs/preflight.md")
	seen := map[string]bool{}
	for _, renamed := range finding.Renames() {
		if seen[renamed.Old] {
			t.Errorf("%s is in the table twice", renamed.Old)
		}
		seen[renamed.Old] = true
		if slices.ContainsFunc(catalog.Checks(), func(c preflight.Check) bool { return c.ID == renamed.Old || c.Topic() == renamed.Old }) {
			t.Errorf("%s has got another meaning", renamed.Old)
		}
		if !strings.Contains(page, "`"+renamed.Old+"`") {
			t.Errorf("docs/preflight.md does not name %s among those that were renamed", renamed.Old)
		}
		major, minor, _ := strings.Cut(renamed.Until, ".")
		if number(t, version[1]) > number(t, major) || version[1] == major && number(t, version[2]) > number(t, minor) {
			t.Errorf("%s was to work until %s: remove it", renamed.Old, renamed.Until)
		}
		for _, options := range []preflight.Options{{Only: []string{renamed.Old}}, {Skip: []string{renamed.Old}}, {With: []string{renamed.Old}}} {
			warnings := options.UseCurrentNames()
			if len(warnings) != 1 || !strings.Contains(warnings[0], renamed.Old+" is called "+renamed.New) {
				t.Errorf("%s: warnings %q", renamed.Old, warnings)
			}
			if _, err := preflight.Select(catalog.Checks(), options); err != nil {
				t.Errorf("%s: %v", renamed.Old, err)
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
