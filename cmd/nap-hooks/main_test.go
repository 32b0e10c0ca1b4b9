package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/pgtest"
)

// call runs one command line and returns its exit code and what it printed.
func call(t *testing.T, args ...string) (code int, stdout, termination string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(t.Context(), append([]string{"--termination-log", path}, args...), &out, &log) }()
	select {
	case code = <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatalf("nap-hooks %s does not end", strings.Join(args, " "))
	}
	for line := range strings.Lines(log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is no JSON: %s", line)
		}
	}
	message, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(message) == 0 && code != 0 {
		// The flag itself is not read on a command line that cannot be understood.
		var last struct{ Msg string }
		if err := json.Unmarshal(log.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
		message = []byte(last.Msg)
	}
	return code, out.String(), string(message)
}

func TestCommandLines(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgresql://nap@127.0.0.1:1/nap")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":                 {[]string{"--help"}, 0, ""},
		"unknown command":      {[]string{"bootstarp"}, 2, `unknown command "bootstarp"`},
		"unknown flag":         {[]string{"wait", "--sets", "x"}, 2, "unknown flag: --sets"},
		"argument":             {[]string{"wait", "--set", "x", "y"}, 2, `unknown command "y"`},
		"bad duration":         {[]string{"wait", "--set", "x", "--timeout", "5"}, 2, "--timeout"},
		"no set":               {[]string{"wait"}, 2, "--set or --source must be given"},
		"no source":            {[]string{"copy", "--from", "", "--to", "/tmp"}, 2, "--from is missing"},
		"no Job":               {[]string{"backup", "scheduled", "--spec", "x"}, 2, "--job is missing"},
		"no backup to send":    {[]string{"backup", "send", "--spec", "x"}, 2, "--name is missing"},
		"no backup to receive": {[]string{"backup", "receive", "--spec", "x"}, 2, "--name is missing"},
		"no rotation":          {[]string{"rotate", "--spec", "x"}, 2, "name what has changed: credential-key or admin"},
		"no keys":              {[]string{"rotate", "credential-key", "--spec", "x"}, 2, "--keys is missing"},
		"no target":            {[]string{"install"}, 2, "--to is missing"},
		"no spec":              {[]string{"migrate"}, 2, "--spec is missing"},
		"no spec file":         {[]string{"prepare", "--spec", "/nowhere/spec.yaml"}, 2, "no such file"},
		"nothing to copy":      {[]string{"copy", "--from", "/nowhere", "--to", t.TempDir()}, 10, "the image has no folder /nowhere"},
		"deadline":             {[]string{"wait", "--set", "x", "--timeout", "5s"}, 20, "connection refused"},
		"log format": {[]string{"wait", "--set", "x", "--log-format", "xml"}, 2,
			"--log-format must be json, text or plain"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, message := call(t, c.args...)
			if code != c.code || !strings.Contains(message, c.want) {
				t.Errorf("exit code %d, want %d: %q, want %q", code, c.code, message, c.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := call(t, "--version"); code != 0 || !strings.HasPrefix(stdout, "nap-hooks version 0.0.0-dev ") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

func TestFromImageToSchema(t *testing.T) {
	t.Setenv("DATABASE_URL", pgtest.Start(t))
	image, work := t.TempDir(), t.TempDir()
	file := filepath.Join(image, "001_init.sql")
	if err := os.WriteFile(file, []byte("CREATE TABLE a (id int);\nCREATE TABLE a (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := filepath.Join(work, "spec.yaml")
	if err := os.WriteFile(spec, []byte("set: abc\nmigrations: [{source: control-plane, dir: "+work+"/migrations}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	copyIn := func() {
		t.Helper()
		if code, _, message := call(t, "copy", "--from", image, "--to", work+"/migrations"); code != 0 {
			t.Fatalf("copy: exit code %d: %s", code, message)
		}
	}
	copyIn()
	code, stdout, _ := call(t, "migrate", "--spec", spec, "--dry-run")
	if code != 0 || !strings.Contains(stdout, "1 to apply, 0 applied before") {
		t.Errorf("dry run: exit code %d: %s", code, stdout)
	}
	code, stdout, _ = call(t, "migrate", "--spec", spec, "--dry-run", "--output", "json")
	if code != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("dry run as JSON: exit code %d: %s", code, stdout)
	}
	code, _, message := call(t, "migrate", "--spec", spec)
	if code != 11 || !strings.HasPrefix(message, `migration control-plane/001_init.sql failed at line 2: relation "a" already exists`) {
		t.Errorf("exit code %d: %s", code, message)
	}
	if err := os.WriteFile(file, []byte("CREATE TABLE a (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	copyIn()
	code, _, message = call(t, "migrate", "--spec", spec)
	if code != 0 || message != "1 migrations applied, the last one 001_init of control-plane" {
		t.Errorf("exit code %d: %s", code, message)
	}
	if code, _, message := call(t, "wait", "--set", "abc"); code != 0 {
		t.Errorf("wait: exit code %d: %s", code, message)
	}
}
