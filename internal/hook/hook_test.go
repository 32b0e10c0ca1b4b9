package hook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

func TestFinish(t *testing.T) {
	busy := hook.Errorf(hook.Busy, "somebody holds it")
	for name, c := range map[string]struct {
		err     error
		code    int
		message string
	}{
		"done":       {nil, 0, "2 things done"},
		"unexpected": {errors.New("boom"), 1, "boom"},
		"coded":      {busy, 12, "somebody holds it"},
		"wrapped":    {fmt.Errorf("migrate: %w", busy), 12, "migrate: somebody holds it"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "termination-log")
			if err := os.WriteFile(path, []byte("what an earlier try said, which is longer"), 0o600); err != nil {
				t.Fatal(err)
			}
			o := hook.Options{LogFormat: "json", TerminationLog: path}
			o.SetResult("%d things done", 2)
			var log bytes.Buffer
			if code := o.Finish(c.err, &log); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != c.message {
				t.Errorf("termination message %q, %v, want %q", got, err, c.message)
			}
			if c.err != nil && !strings.Contains(log.String(), `"msg":"`+c.message) {
				t.Errorf("log %s", &log)
			}
		})
	}
}

func TestTerminationMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "termination-log")
	if err := hook.WriteTermination(path, "x"); err != nil {
		t.Errorf("without the file: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file was made")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hook.WriteTermination(path, strings.Repeat("ä", 4000)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) > 4096 || len(got) < 4000 || !strings.HasSuffix(string(got), "ä …") {
		t.Errorf("%d bytes, %v, ending in %q", len(got), err, got[max(0, len(got)-10):])
	}
	// kubectl describe and Helm print it to a terminal.
	if err := hook.WriteTermination(path, "no \x1b[2Jimage"); err != nil {
		t.Fatal(err)
	}
	if got, err = os.ReadFile(path); err != nil || string(got) != "no ^[[2Jimage" {
		t.Errorf("%v: %q", err, got)
	}
}

func TestReadSpec(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"good":          {"set: abc\nseeds: [{name: admin, command: [node, seed.js]}]", ""},
		"unknown field": {"set: abc\nsed: []", `unknown field "sed"`},
		"incomplete":    {"seeds: []", "set is empty"},
		"no command":    {"set: abc\nseeds: [{name: admin}]", "seeds[0] needs a name and a command"},
		"no YAML":       {"set: [", "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "spec.yaml")
			if err := os.WriteFile(path, []byte(c.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			spec, err := hook.ReadSpec[hook.SeedSpec](path)
			if c.want == "" {
				if err != nil || spec.Seeds[0].Command[1] != "seed.js" {
					t.Errorf("%+v, %v", spec, err)
				}
				return
			}
			if hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	for path, want := range map[string]string{"": "--spec is missing", "/nowhere/spec.yaml": "no such file"} {
		if _, err := hook.ReadSpec[hook.SeedSpec](path); hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestRun(t *testing.T) {
	wait := func(ctx context.Context, _ *slog.Logger) error { <-ctx.Done(); return ctx.Err() }
	o := hook.Options{LogFormat: "text", Timeout: time.Millisecond}
	err := o.Run(t.Context(), &bytes.Buffer{}, wait)
	if hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), "the deadline passed") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.Timeout = time.Minute
	if err := o.Run(ctx, &bytes.Buffer{}, wait); hook.CodeOf(err) != hook.Unexpected || !strings.Contains(err.Error(), "stopped by a signal") {
		t.Errorf("%v", err)
	}
	for want, o := range map[string]hook.Options{
		"--timeout must be longer than 0":          {LogFormat: "text"},
		`--log-format must be json, text or plain`: {LogFormat: "xml", Timeout: time.Minute},
	} {
		if err := o.Run(t.Context(), &bytes.Buffer{}, wait); hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

func TestPollSaysWhatChanges(t *testing.T) {
	var out bytes.Buffer
	states := []string{"nobody there", "nobody there", "asleep", "asleep", "done"}
	n := 0
	err := hook.Poll(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), "a friend", func(context.Context) (bool, string, error) {
		n++
		return states[n-1] == "done", states[n-1], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "waiting for a friend"); got != 2 {
		t.Errorf("%d lines, want one for each change:\n%s", got, &out)
	}
}

func TestPollEnds(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	missing := func(context.Context) (bool, string, error) { return false, "nobody there", nil }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := hook.Poll(ctx, log, "a friend", missing); hook.CodeOf(err) != hook.Deadline || !strings.Contains(err.Error(), "gave up waiting for a friend after 0s: nobody there") {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := hook.Poll(ctx, log, "a friend", missing); hook.CodeOf(err) != hook.Unexpected || !strings.Contains(err.Error(), "stopped by a signal while waiting for a friend: nobody there") {
		t.Errorf("%v", err)
	}
	broken := errors.New("broken")
	if err := hook.Poll(t.Context(), log, "a friend", func(context.Context) (bool, string, error) { return false, "", broken }); err != broken {
		t.Errorf("%v", err)
	}
}

func TestWaitForURL(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	log := slog.New(slog.DiscardHandler)
	if err := hook.WaitForURL(t.Context(), log, server.URL); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
	for at, c := range map[string]struct {
		code hook.Code
		want string
	}{
		"http://127.0.0.1:1/healthz": {hook.Deadline, "it does not answer: dial tcp 127.0.0.1:1: connect: connection refused"},
		"nap-cp:3000":                {hook.Usage, "--http needs an address of the form http://host:port/path"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if err := hook.WaitForURL(ctx, log, at); hook.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v", err)
		}
		cancel()
	}
}

func TestCopySQL(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "neutree", "migrations")
	for name, text := range map[string]string{"001_init.sql": "SELECT 1", "README.md": "read"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(from, "folder.sql"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A container that is started again finds its own copy.
	for range 2 {
		if n, err := hook.CopySQL(from, to); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 1 || entries[0].Name() != "001_init.sql" {
		t.Errorf("%v %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for from, want := range map[string]string{t.TempDir(): "holds no .sql file", "/nowhere/migrations": "the image has no folder /nowhere/migrations"} {
		if _, err := hook.CopySQL(from, to); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

func TestInstall(t *testing.T) {
	to := filepath.Join(t.TempDir(), "neutree")
	at, err := hook.Install(to)
	if err != nil || at != filepath.Join(to, "nap-hooks") {
		t.Fatal(at, err)
	}
	self, err := os.Stat(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(at)
	if err != nil || info.Mode() != 0o755 || info.Size() != self.Size() {
		t.Errorf("%v %v", info, err)
	}
}

// Helm prints the log of a hook as it is, and people read it there.
func TestPlainLog(t *testing.T) {
	var b strings.Builder
	log, err := hook.NewLogger(&b, "plain")
	if err != nil {
		t.Fatal(err)
	}
	log.With("database", "nap").Warn("the database stays ahead", "migrations", "133_add, 134_more")
	log.Info("done\nat last")
	log.Debug("unheard")
	log.WithGroup("helm").Error("no", "cause", errors.New("403"))
	want := "warning: the database stays ahead (database: nap, migrations: 133_add, 134_more)\ndone at last\nerror: " +
		"no (helm.cause: 403)\n"
	if b.String() != want {
		t.Errorf("it says\n%swant\n%s", b.String(), want)
	}
}

// In a log for people each finding has a line of its own, and an exit code is for machines.
func TestPlainLogOfAFailure(t *testing.T) {
	first := finding.Finding{ID: finding.StorageClass, Found: "no StorageClass is the default", Fix: "name one"}
	second := finding.Finding{ID: finding.UpgradeRename, Found: "the prefix\nchanged", Fix: "restore it"}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"findings": {hook.Refuse(first, second), "error: no StorageClass is the default: name one [storage.class]\n" +
			"error: the prefix changed: restore it [upgrade.rename]\n"},
		"one finding": {hook.Refuse(first), "error: no StorageClass is the default: name one [storage.class]\n"},
		"findings with more around them": {fmt.Errorf("pull: %w", hook.Refuse(first)),
			"error: pull: no StorageClass is the default: name one [storage.class]\n"},
		"none": {errors.New("boom"), "error: boom\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := hook.Options{LogFormat: "plain"}
			var log bytes.Buffer
			if code := o.Finish(tc.err, &log); code != int(hook.CodeOf(tc.err)) {
				t.Errorf("exit code %d", code)
			}
			if log.String() != tc.want {
				t.Errorf("it says\n%swant\n%s", &log, tc.want)
			}
		})
	}
}
