// Command readme writes the chart's README.md: helm-docs lists the values of the chart and of those below it, explained
// by the comments in their values.yaml. With --check it only tells whether the file is up to date.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	chart    = "charts/neutree"
	operator = "cloudnative-pg"
)

func main() {
	helmDocs := flag.String("helm-docs", "bin/helm-docs", "the program helm-docs")
	check := flag.Bool("check", false, "fail when the file is out of date, and leave it")
	flag.Parse()
	if err := run(*helmDocs, *check); err != nil {
		fmt.Fprintln(os.Stderr, "readme: "+err.Error())
		os.Exit(1)
	}
}

func run(helmDocs string, check bool) error {
	made, err := generate(helmDocs)
	if err != nil {
		return err
	}
	path := filepath.Join(chart, "README.md")
	if !check {
		return os.WriteFile(path, made, 0o644)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(kept, made) {
		return fmt.Errorf("%s is not what values.yaml and README.md.gotmpl make of it: run make generate", path)
	}
	return nil
}

func generate(helmDocs string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "readme")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "neutree")
	if err := os.CopyFS(copied, os.DirFS(chart)); err != nil {
		return nil, err
	}
	// The operator's chart, where it is in place, documents itself.
	downloaded, err := filepath.Glob(filepath.Join(copied, "charts", operator+"*"))
	if err != nil {
		return nil, err
	}
	for _, path := range downloaded {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	values, err := filepath.Glob(filepath.Join(copied, "charts", "*", "values.yaml"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(values, filepath.Join(copied, "values.yaml")) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if choices := named(bare, string(raw)); choices != "" {
			name := strings.TrimPrefix(path, dir+"/")
			return nil, fmt.Errorf("%s: choices without a meaning: %s: write it after two blanks", name, choices)
		}
		if err := os.WriteFile(path, []byte(mark(string(raw))), 0o644); err != nil {
			return nil, err
		}
	}
	command := exec.Command(helmDocs, "--chart-search-root", copied, "--document-dependency-values", "--template-files", "README.md.gotmpl", "--sort-values-order", "file", "--log-level", "error")
	if output, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", helmDocs, err, output)
	}
	made, err := os.ReadFile(filepath.Join(copied, "README.md"))
	if err != nil {
		return nil, err
	}
	if values := named(empty, string(made)); values != "" {
		return nil, fmt.Errorf("values without a description: %s: write a comment above each in values.yaml", values)
	}
	return made, nil
}

var (
	comment = regexp.MustCompile(`^( *)# `)
	key     = regexp.MustCompile(`^( *)[A-Za-z0-9-]+:`)
	choice  = regexp.MustCompile(`^( *# ) *([A-Za-z-]+)  +`)
	// bare is a choice without a meaning.
	bare = regexp.MustCompile(`(?m)^ *#  +([A-Za-z-]+)$`)
	// empty is a row of the table without a description.
	empty = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .* \\| *\\|$")
)

// named are the first groups of all matches, with commas between them.
func named(pattern *regexp.Regexp, text string) string {
	var found []string
	for _, match := range pattern.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return strings.Join(found, ", ")
}

// mark puts before each comment that stands right above a value what helm-docs knows it by, and keeps the lines of the
// choices in it apart, which helm-docs would join.
func mark(values string) string {
	lines := strings.Split(values, "\n")
	for i, line := range lines {
		at := key.FindStringSubmatch(line)
		if at == nil {
			continue
		}
		first := i
		for first > 0 && strings.HasPrefix(lines[first-1], at[1]+"#") {
			first--
		}
		among := false
		for n := first; n < i; n++ {
			switch {
			case choice.MatchString(lines[n]):
				lines[n] = choice.ReplaceAllString(lines[n], "$1<br>`$2`: ")
				among = true
			case among:
				lines[n] = comment.ReplaceAllString(lines[n], "$1# <br>")
				among = false
			}
		}
		if first < i {
			lines[first] = comment.ReplaceAllString(lines[first], "$1# -- ")
		}
	}
	return strings.Join(lines, "\n")
}
