package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/neutree-ai/packaging/internal/helmenv"
	"github.com/neutree-ai/packaging/test/docs"
)

// parse reads a command line as the plugin does, without running it. Helm takes its own flags out beforehand, and the
// plugin spells those that it reads itself alike.
func parse(args []string, whole bool) error {
	cmd, rest, err := newRootCommand(helmenv.New(io.Discard)).Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if !whole {
		return nil
	}
	if !cmd.Runnable() {
		// cobra would show its help.
		return fmt.Errorf("%s is no command by itself", strings.Join(args, " "))
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// ofPlugin are the arguments of a command of the plugin.
func ofPlugin(c docs.Command) ([]string, bool) {
	switch {
	case c.Words[0] == "helm" && len(c.Words) > 1 && c.Words[1] == "neutree":
		return c.Words[2:], true
	case strings.HasSuffix(c.Words[0], "helm-neutree"):
		return c.Words[1:], true
	}
	return nil, false
}

// What pages and the plugin's own help tell a person to type, the plugin understands.
func TestDocumentedCommandLinesParse(t *testing.T) {
	commands, err := docs.Commands("..")
	if err != nil {
		t.Fatal(err)
	}
	walk(newRootCommand(helmenv.New(io.Discard)), func(cmd *cobra.Command) {
		commands = append(commands, docs.Of(cmd.CommandPath()+" --help", cmd.Example)...)
	})
	count := 0
	for _, c := range commands {
		args, is := ofPlugin(c)
		if !is {
			continue
		}
		count++
		if err := parse(args, c.Whole && len(args) > 0); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
	if count < 20 {
		t.Errorf("only %d command lines are found", count)
	}
	for _, wrong := range []string{"preflight --no-such-flag", "backup restore", "backup fix", "preflite",
		"recover a b"} {
		if parse(strings.Fields(wrong), true) == nil {
			t.Errorf("helm neutree %s is taken for right", wrong)
		}
	}
}

func walk(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, do)
	}
}

// flagsOf are the names of all flags of a command and of those below it.
func flagsOf(root *cobra.Command) map[string]bool {
	known := map[string]bool{"help": true}
	walk(root, func(cmd *cobra.Command) {
		for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags(), cmd.InheritedFlags()} {
			set.VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		}
	})
	return known
}

// others are flags of other programs that messages tell people to use: helm's (test/helm asks Helm itself about those
// on pages) and kubectl's.
var others = []string{
	"atomic", "create-namespace", "history-max", "install", "no-hooks", "reset-then-reuse-values", "reuse-values",
	"rollback-on-failure",
	"set", "set-json", "set-string", "take-ownership", "timeout", "values", "verify", "wait", "force",
	"all", "cert", "dry-run", "from-env-file", "from-file", "key", "patch-file",
	"namespace", "overwrite", "subresource", "type", "all-namespaces", "for", "force-conflicts", "ignore-not-found",
	"label-columns", "output", "patch", "replicas", "selector",
	// The TURN server's.
	"listening-ip", "relay-ip", "external-ip", "allowed-peer-ip", "denied-peer-ip",
	// The converter's, the seed scripts' and mount's.
	"api-timeout", "username", "password", "display-name", "make-rshared",
}

var (
	flagWord = regexp.MustCompile(`(?:^|[\s(=\x60"'])--([a-z][a-z-]*[a-z])`)
	ourLine  = regexp.MustCompile(`helm neutree ([a-z]+)( [a-z]+)?`)
)

// Messages that tell a person to use a flag or a command name one that exists.
func TestMessagesNameFlagsThatExist(t *testing.T) {
	root := newRootCommand(helmenv.New(io.Discard))
	known := flagsOf(root)
	for _, name := range others {
		known[name] = true
	}
	for _, name := range hookFlags(t) {
		known[name] = true
	}
	seen := 0
	check := func(where, text string) {
		// A flag by itself is an argument of a program that we start.
		if !strings.Contains(text, " ") {
			return
		}
		for _, m := range flagWord.FindAllStringSubmatch(text, -1) {
			seen++
			if !known[m[1]] {
				t.Errorf("%s: no program has the flag --%s: %q", where, m[1], text)
			}
		}
		for _, m := range ourLine.FindAllStringSubmatch(text, -1) {
			args := strings.Fields(m[1] + m[2])
			if cmd, _, err := root.Find(args[:1]); err != nil || cmd == root {
				t.Errorf("%s: there is no command helm neutree %s: %q", where, m[1], text)
			} else if cmd.HasSubCommands() && len(args) > 1 {
				if sub, _, err := cmd.Find(args[1:]); err != nil || sub == cmd {
					t.Errorf("%s: there is no command helm neutree %s: %q", where, strings.Join(args, " "), text)
				}
			}
		}
	}
	for _, dir := range []string{"../internal", "../cmd", "."} {
		eachMessage(t, dir, check)
	}
	for path, text := range templates(t) {
		for line := range strings.Lines(text) {
			check(path, line)
		}
	}
	if seen < 40 {
		t.Errorf("only %d flags are found in messages", seen)
	}
}

// eachMessage calls do with every string of the Go files below dir but those of tests.
func eachMessage(t *testing.T, dir string, do func(where, text string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, is := n.(*ast.BasicLit); is && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					do(set.Position(literal.Pos()).String(), text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// hookFlags are the flags of nap-hooks, as its commands define them.
func hookFlags(t *testing.T) []string {
	t.Helper()
	var names []string
	defines := regexp.MustCompile(`[a-zA-Z0-9]Var(?:P)?\(&?[^,]+, "([a-z-]+)"`)
	paths, err := filepath.Glob("../cmd/nap-hooks/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range defines.FindAllStringSubmatch(string(raw), -1) {
			names = append(names, m[1])
		}
	}
	if !slices.Contains(names, "spec") || !slices.Contains(names, "unless-pending") {
		t.Fatalf("the flags of nap-hooks are not found: %v", names)
	}
	return names
}

// templates are the chart's: its messages, notes and the comments in its values.
func templates(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir("../charts/neutree", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.Contains(path, "cloudnative-pg") {
			return err
		}
		if name := entry.Name(); strings.HasSuffix(name, ".tpl") || name == "NOTES.txt" || name == "values.yaml" {
			raw, err := os.ReadFile(path)
			found[path] = string(raw)
			return err
		}
		return nil
	})
	if err != nil || len(found) < 10 {
		t.Fatalf("%d templates: %v", len(found), err)
	}
	return found
}

// What pages say of the defaults of flags is what the flags say.
func TestDocumentedDefaultsOfFlags(t *testing.T) {
	pages, err := docs.Pages("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		page, says string
		command    []string
		flag       string
		unit       time.Duration
	}{
		{"docs/preflight.md", "| `--timeout` | time for everything, ([0-9]+) minutes unless given |",
			[]string{"preflight"}, "timeout", time.Minute},
	} {
		m := regexp.MustCompile(strings.ReplaceAll(c.says, "|", `\|`)).FindStringSubmatch(pages[c.page])
		if m == nil {
			t.Errorf("%s no longer says %q: name here what it says of --%s", c.page, c.says, c.flag)
			continue
		}
		cmd, _, err := newRootCommand(helmenv.New(io.Discard)).Find(c.command)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(m[1])
		if want := (time.Duration(n) * c.unit).String(); err != nil || cmd.Flag(c.flag).DefValue != want {
			t.Errorf("%s says that --%s is %s by default, and it is %s", c.page, c.flag, want,
				cmd.Flag(c.flag).DefValue)
		}
	}
}

// Every flag that the page on preflight lists exists, and every one of the command's own is listed there or takes what
// helm install takes.
func TestEveryFlagOfPreflightIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../docs/preflight.md")
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile("(?m)^\\| `-.*$").FindAllString(string(raw), -1)
	listed := strings.Join(table, "\n") + string(raw)
	ofInstall := pflag.NewFlagSet("", pflag.ContinueOnError)
	addValueFlags(ofInstall, &new(preflightFlags).values, new(string))
	newPreflightCommand(helmenv.New(io.Discard)).Flags().VisitAll(func(f *pflag.Flag) {
		said := strings.Contains(listed, "`--"+f.Name+"`") || strings.Contains(listed, "`-"+f.Shorthand+"`")
		if ofInstall.Lookup(f.Name) == nil && !said {
			t.Errorf("docs/preflight.md does not explain --%s", f.Name)
		}
	})
	for _, row := range table {
		for _, m := range regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(row, -1) {
			if newPreflightCommand(helmenv.New(io.Discard)).Flags().Lookup(m[1]) == nil {
				t.Errorf("docs/preflight.md lists --%s, which preflight does not have", m[1])
			}
		}
	}
}
