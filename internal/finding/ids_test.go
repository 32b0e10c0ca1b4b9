package finding_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// constants are the IDs of ids.go by the constants' names.
func constants(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "ids.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "ID" {
			t.Errorf("%s is no ID", spec.Names[0].Name)
		}
		literal, _ := spec.Values[0].(*ast.BasicLit)
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		for name, other := range ids {
			if other == text {
				t.Errorf("%s and %s are both %s", name, spec.Names[0].Name, text)
			}
		}
		ids[spec.Names[0].Name] = text
		return true
	})
	return ids
}

func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, anchor := range regexp.MustCompile(`<a id="([^"]+)"></a>`).FindAllStringSubmatch(string(raw), -1) {
		found[anchor[1]] = true
	}
	return found
}

func TestEveryIDIsDocumented(t *testing.T) {
	hooks, checks := anchors(t, "findings.md"), anchors(t, "preflight.md")
	used := map[string]bool{}
	for _, id := range constants(t) {
		used[id] = true
		switch {
		case hooks[id] && checks[id]:
			t.Errorf("%s is explained twice, by docs/findings.md and docs/preflight.md", id)
		case !hooks[id] && !checks[id]:
			t.Errorf("docs/findings.md has no anchor for %s: put <a id=%q></a> before the section that explains it", id, id)
		}
	}
	for id := range hooks {
		if !used[id] {
			t.Errorf("docs/findings.md explains %s, which nothing finds", id)
		}
	}
}

// sources calls do for each Go file that ships.
func sources(t *testing.T, do func(path string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	for _, dir := range []string{"internal", "cmd", "plugin"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err == nil {
				do(path, set, file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func isSelector(e ast.Expr, of, name string) bool {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == of && (name == "" || selector.Sel.Name == name)
}

// A refusal without an ID cannot be looked up in the documentation.
func TestEveryRefusalHasAnID(t *testing.T) {
	unused := constants(t)
	sources(t, func(path string, set *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.SelectorExpr:
				if isSelector(n, "finding", "") && !strings.HasSuffix(path, "ids.go") {
					delete(unused, n.Sel.Name)
				}
			case *ast.CompositeLit:
				// A check's findings get its ID from the runner.
				if isSelector(n.Type, "finding", "Finding") && len(n.Elts) > 0 && !has(n, "ID") {
					t.Errorf("%s: a finding without an ID", set.Position(n.Pos()))
				}
			case *ast.CallExpr:
				name, _ := n.Fun.(*ast.Ident)
				if isSelector(n.Fun, "hook", "Errorf") || name != nil && name.Name == "Errorf" {
					for _, code := range []string{"Refused", "MigrationFailed", "Busy"} {
						if own, _ := n.Args[0].(*ast.Ident); isSelector(n.Args[0], "hook", code) || own != nil && own.Name == code {
							t.Errorf("%s: hook.Errorf(hook.%s, …) has no ID: use hook.Failf or hook.Refuse", set.Position(n.Pos()), code)
						}
					}
				}
			}
			return true
		})
	})
	for name, id := range unused {
		t.Errorf("nothing finds %s (finding.%s)", id, name)
	}
}

func has(literal *ast.CompositeLit, field string) bool {
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == field {
				return true
			}
		}
	}
	return false
}
