package docs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/test/docs"
)

const root = "../.."

func TestParse(t *testing.T) {
	for line, want := range map[string][][]string{
		"helm upgrade a ./b   --set x=y  # a remark": {{"helm", "upgrade", "a", "./b", "--set", "x=y"}},
		`kubectl get x -o go-template='{{"\n"}} |'`:  {{"kubectl", "get", "x", `-o`, `go-template={{"\n"}} |`}},
		"a --b 'c d' | kubectl apply -f - && make x": {{"a", "--b", "c d"}, {"kubectl", "apply", "-f", "-"},
			{"make", "x"}},
		"A=$(b c) D=e f 'g'\"h\"": {{"A=$(b c)", "D=e", "f", "gh"}},
		"# nothing":               nil,
	} {
		if diff := cmp.Diff(want, docs.Parse(line)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	got := docs.Of("p", "$ helm a \\\n  --b\nsaid\n$ make c")
	want := []docs.Command{{Page: "p", Words: []string{"helm", "a", "--b"}, Whole: true}, {Page: "p",
		Words: []string{"make", "c"}, Whole: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every page that shows commands is read, and shows some of each program.
func TestCommandsAreFound(t *testing.T) {
	found := commands(t)
	count := map[string]int{}
	for _, c := range found {
		count[c.Words[0]]++
		if c.Whole && c.Words[0] == "helm" && len(c.Words) > 1 && c.Words[1] == "neutree" {
			count["helm neutree"]++
		}
	}
	for program, least := range map[string]int{"helm": 25, "helm neutree": 8, "kubectl": 5, "make": 12} {
		if count[program] < least {
			t.Errorf("%d commands of %s are found, want %d at least: %v", count[program], program, least, found)
		}
	}
}

func commands(t *testing.T) []docs.Command {
	t.Helper()
	found, err := docs.Commands(root)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	target   = regexp.MustCompile(`(?m)^([a-zA-Z0-9][a-zA-Z0-9/_-]*(?: [a-zA-Z0-9/_-]+)*):`)
	variable = regexp.MustCompile(`(?m)^([A-Z]+) *\??:?=`)
)

// Pages name targets that the Makefile has, and set variables that it or its scripts read.
func TestMakeTargetsExist(t *testing.T) {
	raw, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets, variables := map[string]bool{}, map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(string(raw), -1) {
		for _, name := range strings.Fields(m[1]) {
			targets[name] = true
		}
	}
	for _, m := range variable.FindAllStringSubmatch(string(raw), -1) {
		variables[m[1]] = true
	}
	scripts := scripts(t)
	for _, c := range commands(t) {
		if c.Words[0] != "make" {
			continue
		}
		for _, word := range c.Words[1:] {
			name, _, sets := strings.Cut(word, "=")
			switch {
			case !sets && !targets[name]:
				t.Errorf("%s: the Makefile has no target %s", c, name)
			case sets && !variables[name] && !strings.Contains(scripts, "${"+name):
				t.Errorf("%s: neither the Makefile nor a script of hack/ reads %s", c, name)
			}
		}
	}
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	// Such as CELLS="1.34/4" VALUES="sandbox browser" make matrix.
	before := regexp.MustCompile(`\b([A-Z]{4,})="?[^ "]+[^"\n]*"? make `)
	for page, text := range pages {
		for _, m := range before.FindAllStringSubmatch(text, -1) {
			if !variables[m[1]] && !strings.Contains(scripts, "${"+m[1]) {
				t.Errorf("%s: neither the Makefile nor a script of hack/ reads %s", page, m[1])
			}
		}
	}
}

// scripts are those of hack/, one after the other.
func scripts(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(root + "/hack")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".sh") {
			raw, err := os.ReadFile(root + "/hack/" + entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			all.Write(raw)
		}
	}
	return all.String()
}

// Pages link to pages and headings that exist.
func TestLinksLead(t *testing.T) {
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for page, text := range pages {
		dir := root
		if before, _, within := strings.Cut(page, "/"); within {
			dir += "/" + before
		}
		for _, m := range link.FindAllStringSubmatch(docs.Prose(text), -1) {
			if _, err := os.Stat(dir + "/" + m[1]); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}
