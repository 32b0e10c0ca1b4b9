// Package docs reads what the project's pages tell a person to type, so that tests can hold it against the programs and
// the values that it is about.
package docs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Pages are the pages below root, the top of the repository, by their path from there.
func Pages(root string) (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no pages below %s", root)
	}
	pages := map[string]string{}
	for _, path := range append(paths, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return nil, err
		}
		pages[name] = string(raw)
	}
	return pages, nil
}

// Command is one command that a page shows.
type Command struct {
	Page string
	// Words are the program and its arguments, as a shell would pass them on.
	Words []string
	// Whole says that the command can be typed as it is. What is named within a sentence may lack arguments.
	Whole bool
}

// String is the command with the page that shows it.
func (c Command) String() string { return c.Page + ": " + strings.Join(c.Words, " ") }

// programs are those whose commands are collected.
var programs = []string{"helm", "helm-neutree", "bin/helm-neutree", "kubectl", "make"}

var inline = regexp.MustCompile("`([^`\n]+)`")

// Commands are the commands on all pages below root, those of nested helps of ours included.
func Commands(root string) ([]Command, error) {
	pages, err := Pages(root)
	if err != nil {
		return nil, err
	}
	var found []Command
	for page, text := range pages {
		for _, block := range Blocks(text, "sh", "console") {
			for _, line := range Lines(block) {
				found = append(found, split(page, line, true)...)
			}
		}
		for _, m := range inline.FindAllStringSubmatch(Prose(text), -1) {
			found = append(found, split(page, m[1], false)...)
		}
	}
	slices.SortFunc(found, func(a, b Command) int { return strings.Compare(a.String(), b.String()) })
	return found, nil
}

// Of makes commands of lines of a shell, such as a program's own examples.
func Of(page, text string) []Command {
	var found []Command
	for _, line := range Lines(text) {
		found = append(found, split(page, line, true)...)
	}
	return found
}

// Block is the content of a fenced block of one of the languages.
func Blocks(text string, languages ...string) []string {
	var blocks []string
	var block strings.Builder
	within, wanted := false, false
	for line := range strings.Lines(text) {
		fence, is := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case is && !within:
			within, wanted = true, slices.Contains(languages, fence)
			block.Reset()
		case is:
			if wanted {
				blocks = append(blocks, block.String())
			}
			within = false
		case within:
			block.WriteString(line)
		}
	}
	return blocks
}

// Prose is a text without its fenced blocks.
func Prose(text string) string {
	var prose strings.Builder
	within := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			within = !within
		} else if !within {
			prose.WriteString(line)
		}
	}
	return prose.String()
}

// Lines are the lines of a block that are typed: of a console those after the prompt. One that goes on in the next one
// is put together.
func Lines(block string) []string {
	prompted := strings.HasPrefix(block, "$ ") || strings.Contains(block, "\n$ ")
	var lines []string
	open := ""
	scanner := bufio.NewScanner(strings.NewReader(block))
	for scanner.Scan() {
		line := scanner.Text()
		if prompted && open == "" {
			var typed bool
			if line, typed = strings.CutPrefix(line, "$ "); !typed {
				continue
			}
		}
		if before, goes := strings.CutSuffix(line, `\`); goes {
			open += before
			continue
		}
		lines = append(lines, strings.TrimSpace(open+line))
		open = ""
	}
	return lines
}

// split takes a line apart into the commands of it that are of interest.
func split(page, line string, whole bool) []Command {
	var found []Command
	for _, words := range Parse(line) {
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 && slices.Contains(programs, words[0]) {
			found = append(found, Command{Page: page, Words: words, Whole: whole})
		}
	}
	return found
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// Parse takes a line of a shell apart into commands, and those into words: enough of it for what pages show.
func Parse(line string) [][]string {
	var commands [][]string
	var words []string
	var word strings.Builder
	started := false
	endWord := func() {
		if started {
			words = append(words, word.String())
		}
		word.Reset()
		started = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '\'' || r == '"':
			started = true
			for i++; i < len(runes) && runes[i] != r; i++ {
				if r == '"' && runes[i] == '\\' && i+1 < len(runes) {
					i++
				}
				word.WriteRune(runes[i])
			}
		case r == '$' && i+1 < len(runes) && runes[i+1] == '(':
			started = true
			for depth := 0; i < len(runes); i++ {
				word.WriteRune(runes[i])
				if runes[i] == '(' {
					depth++
				} else if runes[i] == ')' {
					if depth--; depth == 0 {
						break
					}
				}
			}
		case r == '#' && !started:
			endCommand()
			return commands
		case r == '|' || r == ';' || r == '&':
			endCommand()
		case r == ' ' || r == '\t':
			endWord()
		default:
			started = true
			word.WriteRune(r)
		}
	}
	endCommand()
	return commands
}
