package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/neutree-ai/packaging/internal/hook"
)

// Every line of every example in --help runs, split into arguments as a shell does it.
func TestEveryExampleRuns(t *testing.T) {
	said := map[string]string{
		"nap-hooks probe --tasks '[{\"id\":\"model\",\"reach\":{\"url\":\"https://api.example.com\"}}]'": `"model"`,
	}
	for _, line := range exampleLines(newRootCommand(&hook.Options{})) {
		want, known := said[line]
		if !known {
			t.Errorf("no test knows what this example does: add it to the table: %s", line)
			continue
		}
		delete(said, line)
		split, err := exec.Command("sh", "-c", `printf '%s\0' `+line).Output()
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Split(strings.TrimSuffix(string(split), "\x00"), "\x00")
		if code, _, message := call(t, args[1:]...); code != 0 || !strings.Contains(message, want) {
			t.Errorf("%s: exit code %d: %q, want %q", line, code, message, want)
		}
	}
	for line := range said {
		t.Errorf("this is no example any more: %s", line)
	}
}

// exampleLines are the command lines in the examples of a command and of those below it.
func exampleLines(cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	for _, below := range cmd.Commands() {
		lines = append(lines, exampleLines(below)...)
	}
	return lines
}
