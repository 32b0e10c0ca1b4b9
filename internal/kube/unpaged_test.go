package kube_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoListIsUnpaged reads all code that is shipped: a list of everything that a cluster has of a kind ends a hook at
// its memory limit where users have enough of it.
func TestNoListIsUnpaged(t *testing.T) {
	root := filepath.Join("..", "..")
	paged := 0
	for _, dir := range []string{"internal", "cmd", "plugin"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			right, wrong := lists(file)
			paged += right
			for _, at := range wrong {
				t.Errorf("%s: a list that is not paged: use kube.Each, kube.List or ListMetadata, or list in kube.Pages",
					files.Position(at))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if paged < 4 {
		t.Errorf("found %d lists in kube.Pages: the test does not see them any more", paged)
	}
}

// lists finds the calls of client-go's List(ctx, options), those in kube.Pages and others.
func lists(file *ast.File) (paged int, unpaged []token.Pos) {
	var walk func(node ast.Node, options string)
	walk = func(node ast.Node, options string) {
		ast.Inspect(node, func(n ast.Node) bool {
			call, is := n.(*ast.CallExpr)
			if !is {
				return true
			}
			name := called(call)
			if name == "Pages" && len(call.Args) == 2 {
				if page, is := call.Args[1].(*ast.FuncLit); is && options == "" {
					walk(page.Body, page.Type.Params.List[0].Names[0].Name)
					return false
				}
			}
			if _, method := call.Fun.(*ast.SelectorExpr); !method || name != "List" || len(call.Args) != 2 {
				return true
			}
			switch given := call.Args[1].(type) {
			case *ast.CallExpr: // of a list of ours: no call makes options
			case *ast.Ident:
				if given.Name == options {
					paged++
					break
				}
				unpaged = append(unpaged, call.Pos())
			default:
				unpaged = append(unpaged, call.Pos())
			}
			return true
		})
	}
	walk(file, "")
	return paged, unpaged
}

// called is the name of the function or method that is called.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func TestUnpagedListsAreSeen(t *testing.T) {
	for code, want := range map[string]int{
		`client.Pods("").List(ctx, metav1.ListOptions{})`: 1,
		`client.Pods("").List(ctx, options)`:              1,
		`kube.Pages(o, func(options metav1.ListOptions) (string, error) { l := c.List(ctx, options); return l.Continue, nil })`: 0,
		`kube.Pages(o, func(options metav1.ListOptions) (string, error) { l := c.List(ctx, o); return l.Continue, nil })`:       1,
		`kube.List[corev1.Pod](ctx, client, kube.Pods, "", metav1.ListOptions{})`:                                               0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() { "+code+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, unpaged := lists(file); len(unpaged) != want {
			t.Errorf("%s: %d unpaged, want %d", code, len(unpaged), want)
		}
	}
}
