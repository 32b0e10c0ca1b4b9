//go:build helm

package helm_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/docs"
)

// renamed are flags that pages name for one of Helm's generations, with the other one's name for them.
var renamed = []string{"--atomic", "--rollback-on-failure"}

// Helm itself, each version of it, and kubectl understand what pages tell a person to type. With --help they read the
// whole command line and do nothing.
func TestDocumentedCommandLinesParse(t *testing.T) {
	commands, err := docs.Commands("../..")
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string][]string{"helm": {"HELM318", "HELM3", "HELM4"}, "kubectl": {"KUBECTL"}}
	count := map[string]int{}
	for _, c := range commands {
		ours := len(c.Words) > 1 && c.Words[1] == "neutree"
		for _, name := range programs[c.Words[0]] {
			if ours || len(c.Words) == 1 || slices.ContainsFunc(renamed,
				func(flag string) bool { return slices.Contains(c.Words, flag) }) {
				continue
			}
			count[name]++
			if out, err := understood(t, variable(t, name), c.Words[1:]); err != nil {
				t.Errorf("%s: %s: %v\n%s", name, c, err, out)
			}
		}
	}
	for name, least := range map[string]int{"HELM318": 15, "HELM3": 15, "HELM4": 15, "KUBECTL": 5} {
		if count[name] < least {
			t.Errorf("only %d command lines are found for %s", count[name], name)
		}
	}
	for _, wrong := range []string{"upgrade a b --no-such-flag", "upgarde a b", "install a b --timeout soon"} {
		if out, err := understood(t, variable(t, "HELM4"), strings.Fields(wrong)); err == nil {
			t.Errorf("helm %s is taken for right:\n%s", wrong, out)
		}
	}
}

func understood(t *testing.T, program string, args []string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, append(slices.Clone(args), "--help")...)
	command.Env = append(os.Environ(), "HELM_PLUGINS="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir())
	out, err := command.CombinedOutput()
	return string(out), err
}
